"""A model to be looked at, whatever it is called on the command line, with what its images go through and its classes are called.

In goes a built-in name, a YAML file, a run folder or `package.module:callable`; out comes a `Subject`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vitscope._core.errors import ConfigError, ModelError, UsageError
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.augment.spec import AugmentSpec
from vitscope.data import DataSpec
from vitscope.doctor.arguments import ArgumentError
from vitscope.lens.randomness import seed_cpu, seeded
from vitscope.model.create import build
from vitscope.model.specimens.spec import ModelSpec
from vitscope.recipes.code import defaults_of, model_from_code
from vitscope.recipes.naming import kind_of, spec_of
from vitscope.recipes.run import recipe_of_run
from vitscope.recipes.sizes import first_that_runs, own_word
from vitscope.recipes.trained import load
from vitscope.runs import RunFolder
from vitscope.train.randomness import global_generator_restored


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
    is_size_tried: bool = False
    """Whether the image size is only one that it takes: neither asked for nor said by the model itself."""

    def normalised(self, pixels: Any) -> Tensor:
        """uint8 H W C to the model's input 1 C H W, in the dtype and on the device of its weights."""
        image = self.preprocessing.normalise(torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None])
        weight = next((p for p in self.model.parameters() if p.is_floating_point()), None)
        return image if weight is None else image.to(weight.device, weight.dtype)

    def label(self, index: int) -> str:
        """The name of a class, or its number."""
        names = self.label_names
        return names[index] if names is not None and index < len(names) else f"class {index}"


class Planes(Preprocessing):
    """Of images that need not be pictures: any number of channels."""

    channels: int  # type: ignore[assignment]


def open_subject(
    model: str,
    *,
    kwargs: Mapping[str, Any] | None = None,
    image_size: int | None = None,
    channels: int | None = None,
    batches: Sequence[int] = (1,),
    needs_pictures: bool = True,
) -> Subject:
    """Opens a model by its name.

    Args:
        model: a built-in name, a YAML file, a run folder, or `package.module:callable`.
        kwargs: arguments of code.
        image_size: side of the image in pixels that code takes; left out, the model's own word, or the first size that it takes (`sizes`).
        channels: of the image; as `image_size`.
        batches: batch sizes of which code has to take one.
        needs_pictures: whether code has to take images of 1 or 3 channels.

    Raises:
        VitscopeError: whatever is wrong with it, in one sentence.
    """
    kind = kind_of(model)
    if kind != "code":
        for name, is_given in (
            ("--kwargs", kwargs is not None),
            ("--image-size", image_size is not None),
            ("--channels", channels is not None),
        ):
            if is_given:
                raise only_for_code(name, model)
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
        with seeded():  # before somebody's module is imported and called
            return _of_code(model, kwargs or {}, image_size, channels, batches, needs_pictures=needs_pictures)
    spec, _ = spec_of(model)
    if spec.channels not in (1, 3):
        raise ConfigError(f"the model has {spec.channels} channels, but images have 1 (greyscale) or 3 (colour)")
    with global_generator_restored():
        seed_cpu(0)
        made = build(spec).eval()
    return Subject(model, made, _plain(spec.image_size, spec.channels), None, spec, None, (_UNTRAINED,))


def only_for_code(option: str, model: str) -> UsageError:
    """The error of an option that a model has no need of."""
    return UsageError(
        Text(
            f"{option} is for package.module:callable; {model} knows its own",
            f"{option}はpackage.module:callable用です。{model}では決まっているので、指定する必要はありません",
        )
    )


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
    return _preprocessing(size, channels, half, half)


def _preprocessing(
    size: tuple[int, int], channels: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> Preprocessing:
    kind = Preprocessing if channels in (1, 3) else Planes
    return kind.parse({"image_size": size, "channels": channels, "mean": mean, "std": std})


def refuse_no_picture(what: str, channels: int) -> None:
    """Refuses a number of channels that no picture has.

    Raises:
        UsageError: neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ArgumentError(
            Text(
                f"{what} is for images of {channels} channels, and pictures have 1 (greyscale) or 3 (colour); only vitscope doctor without --data "
                "takes such a model",
                f"{what}は{channels}チャネルの画像用ですが、写真などの画像は1チャネル（グレースケール）か3チャネル（カラー）です。このようなモデルを"
                "扱えるのは、--dataなしのvitscope doctorだけです",
            )
        )


def _of_code(
    place: str,
    kwargs: Mapping[str, Any],
    image_size: int | None,
    channels: int | None,
    batches: Sequence[int],
    *,
    needs_pictures: bool,
) -> Subject:
    model = _ready(place, model_from_code(place, kwargs))
    if channels is not None and channels < 1:
        raise UsageError(
            Text(
                f"--channels is {channels}, expected a number of at least 1",
                f"--channelsに{channels}が指定されましたが、1以上の整数を指定する必要があります",
            )
        )
    if needs_pictures and channels is not None:
        refuse_no_picture(f"--channels {channels}", channels)
    if image_size is not None and image_size < 1:
        raise UsageError(
            Text(
                f"--image-size is {image_size}, expected a number of pixels",
                f"--image-sizeに{image_size}が指定されましたが、画素数を1以上の整数で指定する必要があります",
            )
        )
    said = own_word(model, {**defaults_of(place), **kwargs})
    is_asked = image_size is not None
    size = (image_size, image_size) if image_size is not None else said.get("size")
    depth_said = channels if channels is not None else said.get("channels")
    size, depth, tried = first_that_runs(place, model, size, depth_said, batches, is_sure=is_asked)
    if needs_pictures:
        refuse_no_picture(place, depth)
    names = said.get("names")
    mean, std = said.get("mean"), said.get("std")
    if mean is not None and std is not None and len(mean) == len(std) == depth:
        preprocessing = _preprocessing(size, depth, mean, std)
        note = _OWN_WORD.format(size=f"{size[0]}×{size[1]}")
    else:
        preprocessing = _plain(size, depth)
        how = _TRIED.format(size=f"{size[0]}×{size[1]}") if tried else Text("", "")
        note = Text(_GUESSED.en.format(size=how.en).strip(), _GUESSED.ja.format(size=how.ja))
    return Subject(place, model, preprocessing, names, None, None, (note,), is_size_tried=tried)


def _ready(place: str, model: nn.Module) -> nn.Module:
    """In evaluation mode, and on the CPU, where pictures are drawn from."""
    try:
        return model.eval().cpu()
    except Exception as error:  # weights that are on no device, an `eval` of somebody's own
        raise ModelError(
            f"{place} cannot be made ready to look at, in evaluation mode and on the CPU: {type(error).__name__} ({error}); mend that first"
        ) from error
