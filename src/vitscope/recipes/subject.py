"""A model to be looked at, whatever it is called on the command line, with what its images go through and its classes are called.

In goes a built-in name, a YAML file, a run folder or `package.module:callable`; out comes a `Subject`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from vitscope._core.errors import ConfigError, ModelError, UsageError
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.augment.spec import AugmentSpec
from vitscope.data import DataSpec
from vitscope.model.create import build
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.code import model_from_code
from vitscope.recipes.naming import kind_of, spec_of
from vitscope.recipes.run import recipe_of_run
from vitscope.recipes.trained import load
from vitscope.runs import RunFolder
from vitscope.train.randomness import global_generator_restored

SIZES = (224, 32, 28, 64, 96, 128, 160, 192, 240, 256, 288, 336, 384, 448, 512, 518)
"""Image sizes that are tried, in this order, on a model that does not say its own."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A model in evaluation mode, and what belongs to it."""

    name: str
    model: nn.Module
    preprocessing: Preprocessing
    label_names: tuple[str, ...] | None
    """None where nothing says what the classes are called."""
    spec: ModelSpec | None
    """None for code."""
    data: DataSpec | None
    """Of a run, the data it was trained on."""
    notes: tuple[Text, ...]
    """What a reader must know before the numbers: untrained weights, a guessed size."""
    augment: AugmentSpec | None = None
    """Of a run, what was done to its training images."""

    def normalised(self, pixels: Any) -> Tensor:
        """uint8 H W C to the model's input 1 C H W, in the dtype and on the device of its weights."""
        image = self.preprocessing.normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])
        weight = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        return image if weight is None else image.to(weight.device, weight.dtype)

    def label(self, index: int) -> str:
        """The name of a class, or its number."""
        names = self.label_names
        return names[index] if names is not None and index < len(names) else f"class {index}"


def open_subject(
    model: str,
    *,
    kwargs: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    batches: Sequence[int] = (1,),
) -> Subject:
    """Opens a model by its name.

    Args:
        model: a built-in name, a YAML file, a run folder, or `package.module:callable`.
        kwargs: arguments of code.
        image_size: side of the image in pixels that code takes; left out, the model's own word, or the first size that it takes.
        channels: of the image; as `image_size`.
        batches: batch sizes of which code has to take one.

    Raises:
        VitscopeError: whatever is wrong with it, in one sentence.
    """
    kind = kind_of(model)
    if kind != "code":
        for name, is_given in (
            ("--kwargs", bool(kwargs)),
            ("--image-size", image_size is not None),
            ("--channels", channels is not None),
        ):
            if is_given:
                raise UsageError(f"{name} is for package.module:callable; {model} knows its own")
    if kind == "run":
        trained, folder = load(model), RunFolder.open(model)
        recipe = recipe_of_run(folder) if folder.recipe.exists() else None
        data, augment = (None, None) if recipe is None else (recipe.data, recipe.augment)
        notes = (_UNFINISHED,) if folder.status() == "unfinished" else ()
        name = Path(model).resolve().name
        return Subject(
            name, trained.model, trained.preprocessing, trained.label_names, trained.spec, data, notes, augment
        )
    if kind == "code":
        return _of_code(model, kwargs or {}, image_size, channels, batches)
    spec, _ = spec_of(model)
    if spec.channels not in (1, 3):
        raise ConfigError(f"the model has {spec.channels} channels, but images have 1 (greyscale) or 3 (colour)")
    with global_generator_restored():
        torch.manual_seed(0)
        made = build(spec).eval()
    return Subject(model, made, _plain(spec.image_size, spec.channels), None, spec, None, (_UNTRAINED,))


_UNTRAINED = Text(
    "This model is not trained: its weights are start values (seed 0). What it attends to and predicts is chance; give a run folder to see "
    "what training makes of it.",
    "このモデルは未学習で、重みは初期値（シード0）です。注目する場所も予測も偶然によるものです。学習の成果を見るには、結果フォルダを指定してください。",
)
_UNFINISHED = Text(
    "The training of this run is not finished; these are the weights of its last epoch so far.",
    "この学習はまだ終わっていません。表示しているのは、現時点で最後のエポックの重みです。",
)
_OWN_WORD = Text(
    "Image size and normalisation ({size}) are what the model's own configuration says.",
    "画像サイズと正規化（{size}）は、モデル自身の設定によるものです。",
)
_GUESSED = Text(
    "The model does not say how its images are normalised: pixels are taken to -1 … 1 (mean 0.5, standard deviation 0.5). If it was trained with "
    "other numbers, scores will be off. {size}",
    "モデルに画像の正規化方法が書かれていないため、画素値を-1〜1に変換しています（平均0.5、標準偏差0.5）。学習時と異なる場合、スコアは不正確になります。{size}",
)
_TRIED = Text(
    "{size} is the first size that it took; say another with --image-size.",
    "画像サイズ{size}は、試した中で最初に受け付けられたものです。変えるには--image-sizeを使ってください。",
)


def _plain(size: tuple[int, int], channels: int) -> Preprocessing:
    half = (0.5,) * channels
    return Preprocessing(image_size=size, channels=cast(Literal[1, 3], channels), mean=half, std=half)


def _of_code(
    place: str,
    kwargs: Mapping[str, Any],
    image_size: int | None,
    channels: int | None,
    batches: Sequence[int],
) -> Subject:
    model = _ready(place, model_from_code(place, kwargs))
    if channels not in (None, 1, 3):
        raise UsageError(f"--channels is {channels}, but images have 1 (greyscale) or 3 (colour)")
    if image_size is not None and image_size < 1:
        raise UsageError(f"--image-size is {image_size}, expected a number of pixels")
    said = _own_word(model)
    size = (image_size, image_size) if image_size is not None else said.get("size")
    tried = size is None
    depth_said = channels if channels is not None else said.get("channels")
    size, depth = _first_that_runs(place, model, size, depth_said, batches)
    names = said.get("names")
    mean, std = said.get("mean"), said.get("std")
    if mean is not None and std is not None and len(mean) == len(std) == depth:
        preprocessing = Preprocessing.parse({"image_size": size, "channels": depth, "mean": mean, "std": std})
        note = _OWN_WORD.format(size=f"{size[0]}×{size[1]}")
    else:
        preprocessing = _plain(size, depth)
        how = _TRIED.format(size=f"{size[0]}×{size[1]}") if tried else Text("", "")
        note = Text(_GUESSED.en.format(size=how.en).strip(), _GUESSED.ja.format(size=how.ja))
    return Subject(place, model, preprocessing, names, None, None, (note,))


def _ready(place: str, model: nn.Module) -> nn.Module:
    """In evaluation mode, and on the CPU, where pictures are drawn from."""
    try:
        return model.eval().cpu()
    except Exception as error:  # weights that are on no device, an `eval` of somebody's own
        raise ModelError(
            f"{place} cannot be made ready to look at, in evaluation mode and on the CPU: {type(error).__name__} ({error}); mend that first"
        ) from error


def _own_word(model: nn.Module) -> dict[str, Any]:
    """What a model says of its images: timm's `pretrained_cfg`, transformers' `config`, or an attribute of a usual name."""
    found: dict[str, Any] = {}
    cfg = getattr(model, "pretrained_cfg", None)
    if isinstance(cfg, Mapping):
        shape, mean, std = cfg.get("input_size"), cfg.get("mean"), cfg.get("std")
        if isinstance(shape, tuple | list) and len(shape) == 3:
            found |= {"channels": int(shape[0]), "size": (int(shape[1]), int(shape[2]))}
        if isinstance(mean, tuple | list) and isinstance(std, tuple | list):
            found |= {"mean": tuple(map(float, mean)), "std": tuple(map(float, std))}
    config = getattr(model, "config", None)
    for owner, side, depth in (
        (config, "image_size", "num_channels"),
        (model, "image_size", "channels"),
        (model, "img_size", "in_chans"),
    ):
        size, count = getattr(owner, side, None), getattr(owner, depth, None)
        if isinstance(size, int) and size > 0:
            found.setdefault("size", (size, size))
        elif isinstance(size, tuple | list) and len(size) == 2 and all(isinstance(x, int) for x in size):
            found.setdefault("size", (size[0], size[1]))
        if count in (1, 3):
            found.setdefault("channels", count)
    # the patch embedding knows better than a pretrained configuration what this very model was made for
    own = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if isinstance(own, tuple) and len(own) == 2:
        found["size"] = own
    names = getattr(config, "id2label", None)
    if isinstance(names, Mapping) and not all(str(v).startswith("LABEL_") for v in names.values()):
        found["names"] = tuple(str(names[key]) for key in sorted(names))
    return found


def _first_that_runs(
    place: str, model: nn.Module, size: tuple[int, int] | None, channels: int | None, batches: Sequence[int]
) -> tuple[tuple[int, int], Literal[1, 3]]:
    """The first size and number of channels that the model takes.

    Raises:
        ModelError: it takes none of those that are tried; with what it said of the last.
    """
    first: BaseException | None = None
    weight = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    tries = [(batch, *each) for batch in batches for each in _candidates(size, channels)]
    for batch, side, depth in tries:
        try:
            with torch.no_grad(), global_generator_restored(), torch.compiler.set_stance("force_eager"):
                model(torch.zeros(batch, depth, *side, device=weight.device, dtype=weight.dtype))
        except (Exception, SystemExit) as error:
            first = first or error
            if isinstance(error, MemoryError) or "allocate memory" in str(error):
                break  # another size would only fill the memory once more
        else:
            return side, depth
    said = next(iter(str(first).splitlines()), "")[:160]
    tried = (
        f"images of {size[0]}×{size[1]} pixels"
        if size is not None
        else f"any size that was tried ({SIZES[0]} and others)"
    )
    raise ModelError(
        f"{place} does not take {tried}: it raised {type(first).__name__} ({said}); say its own with --image-size and --channels"
    ) from first


def _candidates(size: tuple[int, int] | None, channels: int | None) -> Iterator[tuple[tuple[int, int], Literal[1, 3]]]:
    for depth in (3, 1) if channels is None else (channels,):
        for side in [(each, each) for each in SIZES] if size is None else [size]:
            yield side, 1 if depth == 1 else 3
