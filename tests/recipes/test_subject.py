"""A model to look at by any of its names; what somebody's code may do instead of giving one; whose word on sizes counts."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vitscope._core.errors import ConfigError, ModelError, UsageError
from vitscope._core.raised import CodeError
from vitscope.doctor.arguments import ArgumentError
from vitscope.recipes import code
from vitscope.recipes.code import defaults_of, model_from_code, parse_kwargs
from vitscope.recipes.naming import kind_of
from vitscope.recipes.subject import Subject, open_subject

CODE = """
import sys
import torch
from torch import nn
from vitscope.model.create import create_model

def tiny(**changes):
    torch.manual_seed(0)
    small = {"image_size": 32, "patch_size": 8, "dim": 24, "depth": 1, "heads": 2, "mlp_dim": 32, "classes": 10}
    return create_model("vit-ti4-32", **{**small, **changes})

class Wide(nn.Module):
    def __init__(self, width, *, depth=1):
        super().__init__()
        self.inner = tiny(dim=width, depth=depth)
    def forward(self, x):
        return self.inner(x)

class Box:
    inner = tiny()
    class Deeper:
        make = staticmethod(tiny)

instance = tiny()
number = 3
def raises(): raise ValueError("no such thing\\nsecond line")
def leaves(): sys.exit("bye")
def gives(): return 3
class Leaves(nn.Module):
    def forward(self, x): sys.exit(5)
class Fails(nn.Module):
    def forward(self, x): raise KeyError("pixels")
"""


MAKER = """
from torch import nn
def make(size=48, chans=3):
    return nn.Sequential(nn.Conv2d(chans, 4, 4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with somebody's code to stand in, of which nothing stays imported."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "their_code.py").write_text(CODE)
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("their_"):
            del sys.modules[name]


def test_kinds_of_names(tmp_path: Path) -> None:
    (tmp_path / "vit-ti4-32").mkdir()
    (tmp_path / "my-run").mkdir()
    (tmp_path / "file.txt").touch()
    assert kind_of("vit-ti4-32") == "name"
    assert kind_of("my-run") == kind_of("./my-run") == kind_of("./vit-ti4-32") == "run"
    assert kind_of("no.yaml") == kind_of("a/b.yml") == "file"
    assert kind_of("a.b:c") == kind_of("a:b.c") == kind_of("timm.models:vit_x") == "code"
    assert kind_of("モデル:画像") == kind_of("été.modèle:été") == "code"
    assert kind_of("bad-vit:no-position") == kind_of("anything") == "name"
    for words, sentence in (("file.txt", "is a file that is no YAML"), ("no/where", "does not exist")):
        with pytest.raises(UsageError, match=sentence):
            kind_of(words)


@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("their_code:tiny", {}),
        ("their_code:tiny", {"depth": 2}),
        ("their_code:Wide", {"width": 24}),
        ("their_code:instance", {}),
        ("their_code:Box.inner", {}),
        ("their_code:Box.Deeper.make", {}),
    ],
)
def test_code_that_gives_a_model(place: str, arguments: dict[str, Any]) -> None:
    path = list(sys.path)
    assert isinstance(model_from_code(place, arguments), nn.Module)
    assert sys.path == path


@pytest.mark.parametrize(
    ("place", "arguments", "sentence"),
    [
        ("their_nothing:f", {}, "there is no Python module 'their_nothing', here or among what is installed"),
        ("their_code.sub:f", {}, "there is no Python module 'their_code.sub'"),
        ("their_code:tny", {}, "their_code has no 'tny' \\(did you mean 'tiny'\\?\\)"),
        ("their_code:Box.iner", {}, "their_code has no 'Box.iner' \\(did you mean 'inner'\\?\\)"),
        ("their_code:number", {}, "their_code:number is an int, expected a function or a class"),
        ("their_code:gives", {}, "their_code:gives gave an int, expected an nn.Module"),
        ("their_code:raises", {}, r"their_code:raises raised ValueError \(no such thing\) in their_code.py, line \d+; mend it"),
        ("their_code:leaves", {}, r"their_code:leaves raised SystemExit \(bye\)"),
        ("their_code:Wide", {}, r"cannot be called like this \(missing a required argument: 'width'\); it needs width"),
        ("their_code:Wide", {"width": 3, "wdth": 3}, r"got an unexpected keyword argument 'wdth'\); it needs width"),
        ("their_code:gives", {"x": 3}, "it takes none; give arguments as JSON with --kwargs"),
        ("their_imports:f", {}, r"their_imports cannot be imported: ModuleNotFoundError \(No module named 'nowhere_at_all'\)"),
        ("their_syntax:f", {}, "their_syntax cannot be imported: it raised SyntaxError"),
        ("their_exit:f", {}, r"their_exit cannot be imported: it raised SystemExit \(3\) in their_exit.py, line 1; that is sys.exit"),
    ],
)  # fmt: skip
def test_code_that_gives_none(tmp_path: Path, place: str, arguments: dict[str, Any], sentence: str) -> None:
    (tmp_path / "their_imports.py").write_text("import nowhere_at_all")
    (tmp_path / "their_syntax.py").write_text("def f(:")
    (tmp_path / "their_exit.py").write_text("raise SystemExit(3)")
    path = list(sys.path)
    with pytest.raises(ModelError, match=sentence):
        model_from_code(place, arguments)
    assert sys.path == path


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("their_nothing:f", "Pythonモジュール'their_nothing'が、このフォルダにも"),
        ("their_code.py:tiny", "their_code:tinyの間違いではありませんか？"),
        ("their_code:tny", "their_codeに'tny'がありません（'tiny'の間違いではありませんか？）"),
        ("their_code:number", "their_code:numberはintです"),
        ("their_code:gives", "their_code:givesが返したのはintで"),
        ("their_code:raises", "their_code:raisesがtheir_code.pyの"),
        ("their_code:Wide", "必要な引数：width"),
    ],
)
def test_code_that_gives_none_is_told_in_japanese_too(place: str, said: str) -> None:
    with pytest.raises(CodeError) as error:
        model_from_code(place)
    assert said in error.value.text.ja


@pytest.mark.parametrize("deep", [False, True])
def test_a_torchvision_that_fits_another_torch_is_named(monkeypatch: pytest.MonkeyPatch, deep: bool) -> None:
    """What `import timm` raises beside a torch of another build; transformers wraps it."""

    def fails(name: str) -> Any:
        cause = RuntimeError("operator torchvision::nms does not exist")
        if deep:
            raise ImportError("Could not import module 'ViT'") from cause
        raise cause

    monkeypatch.setattr(code.importlib, "import_module", fails)
    with pytest.raises(
        ModelError, match=f"the torchvision that is installed does not belong to torch {torch.__version__[:4]}"
    ):
        model_from_code("timm:create_model")


def test_kwargs() -> None:
    assert parse_kwargs(None) is None
    assert parse_kwargs('{"a": [1, "b"]}') == {"a": [1, "b"]}
    for text, sentence in (("{", "--kwargs is no JSON"), ("[1]", "--kwargs is a JSON list"), ("3", "a JSON int")):
        with pytest.raises(UsageError, match=sentence):
            parse_kwargs(text)


def test_a_built_in_model_and_a_yaml_file(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text("name: vit-ti4-32\ndim: 24\nheads: 2\ndepth: 1\nchannels: 1\n")
    named, filed = open_subject("good-vit"), open_subject("m.yaml")
    assert (named.name, named.label_names, named.data) == ("good-vit", None, None)
    assert (named.preprocessing.image_size, named.preprocessing.channels) == ((32, 32), 3)
    assert filed.preprocessing.channels == 1
    assert not filed.model.training
    assert "not trained" in named.notes[0].en
    assert named.label(3) == "class 3"
    state = torch.get_rng_state()
    again = open_subject("good-vit")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(named.model.parameters(), again.model.parameters(), strict=True))
    (tmp_path / "four.yaml").write_text("name: vit-ti4-32\ndim: 24\nheads: 2\ndepth: 1\nchannels: 4\n")
    with pytest.raises(ConfigError, match="4 channels, but images have 1"):
        open_subject("four.yaml")


@pytest.mark.parametrize("given", [{"kwargs": {"a": 1}}, {"image_size": 0}, {"image_size": 32}, {"channels": 0}])
def test_what_is_for_code_alone(given: dict[str, Any]) -> None:
    option = next(iter(given)).replace("_", "-")
    with pytest.raises(UsageError, match=f"--{option} is for package.module:callable; good-vit knows its own"):
        open_subject("good-vit", **given)


class Takes(nn.Module):
    """Takes images of one size alone, and says what a test lets it say of them."""

    def __init__(self, height: int, width: int | None = None, channels: int = 3, **says: Any) -> None:
        super().__init__()
        self.shape = (channels, height, width or height)
        self.weight = nn.Parameter(torch.zeros(1))
        for name, value in says.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1:] != self.shape:
            raise ValueError(f"takes {self.shape}, not {tuple(x.shape)}")
        return x.mean((2, 3)) * self.weight


class AnySize(nn.Module):
    """Cuts patches with a convolution and takes their mean: it runs on any size."""

    def __init__(self, patch: int, places: int = 0) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 4, patch, patch)
        self.pos_embed = nn.Parameter(torch.zeros(1, places, 4))

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.cut(x)
        return tokens.flatten(2).mean(2)


def holding(**says: Any) -> nn.Module:
    part = nn.Identity()
    for name, value in says.items():
        setattr(part, name, value)
    return part


def opened(monkeypatch: pytest.MonkeyPatch, model: nn.Module, **given: Any) -> Subject:
    monkeypatch.setattr("vitscope.recipes.subject.model_from_code", lambda place, kwargs: model)
    return open_subject("their:model", **given)


CFG = {"input_size": (3, 96, 96), "mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}


@pytest.mark.parametrize(
    ("model", "given", "size", "channels"),
    [
        (lambda: Takes(224), {}, (224, 224), 3),
        (lambda: Takes(28, channels=1), {}, (28, 28), 1),
        (lambda: Takes(40), {"image_size": 40}, (40, 40), 3),
        (lambda: Takes(40, channels=1), {"image_size": 40}, (40, 40), 1),
        (lambda: Takes(32, channels=1), {"channels": 1}, (32, 32), 1),
        (lambda: Takes(96, pretrained_cfg=CFG), {}, (96, 96), 3),
        (lambda: Takes(48, pretrained_cfg=CFG, patch_embed=SimpleNamespace(img_size=(48, 48))), {}, (48, 48), 3),
        (lambda: Takes(48, pretrained_cfg=CFG), {"image_size": 48}, (48, 48), 3),
        (lambda: Takes(40, config=SimpleNamespace(image_size=40, num_channels=3)), {}, (40, 40), 3),
        (lambda: Takes(40, 72, config=SimpleNamespace(image_size=[40, 72])), {}, (40, 72), 3),
        (lambda: Takes(40, channels=1, image_size=40), {}, (40, 40), 1),
        (lambda: Takes(40, 72, img_size=(40, 72), in_chans=3), {}, (40, 72), 3),
        (lambda: Takes(32, image_size="large", config={"image_size": 999}), {}, (32, 32), 3),
        (lambda: Takes(40, channels=1, inner=holding(img_size=40)), {}, (40, 40), 1),
        (lambda: Takes(28, image_size=64), {}, (28, 28), 3),
        (lambda: AnySize(4), {}, (32, 32), 3),
        (lambda: AnySize(8), {}, (32, 32), 3),
        (lambda: AnySize(7), {}, (28, 28), 3),
        (lambda: AnySize(16), {}, (224, 224), 3),
        (lambda: AnySize(4, places=145), {}, (48, 48), 3),
    ],
)
def test_whose_word_on_the_size_counts(
    monkeypatch: pytest.MonkeyPatch, model: Any, given: dict[str, Any], size: tuple[int, int], channels: int
) -> None:
    """What is asked for, else what the model says, else the first size that it takes."""
    found = opened(monkeypatch, model(), **given)
    assert (found.preprocessing.image_size, found.preprocessing.channels) == (size, channels)
    assert len(found.notes) == 1


def test_normalisation_is_the_models_own_or_said_to_be_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    own = opened(monkeypatch, Takes(96, pretrained_cfg=CFG))
    assert own.preprocessing.mean == (0.1, 0.2, 0.3)
    assert "own configuration" in own.notes[0].en
    guessed = opened(monkeypatch, Takes(32))
    assert guessed.preprocessing.mean == (0.5, 0.5, 0.5)
    assert "does not say how its images are normalised" in guessed.notes[0].en
    assert "32×32 is the first size that it took" in guessed.notes[0].en
    assert "32×32" in guessed.notes[0].ja
    asked = opened(monkeypatch, Takes(32), image_size=32)
    assert "first size" not in asked.notes[0].en


def test_a_guessed_size_is_called_a_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opened(monkeypatch, AnySize(4)).is_size_tried
    assert opened(monkeypatch, Takes(28, image_size=64)).is_size_tried
    assert not opened(monkeypatch, Takes(64, image_size=64)).is_size_tried
    assert not opened(monkeypatch, AnySize(4, places=145)).is_size_tried
    assert not opened(monkeypatch, AnySize(4), image_size=48).is_size_tried


def test_what_the_maker_takes_by_default_is_the_models_word(tmp_path: Path) -> None:
    (tmp_path / "their_maker.py").write_text(MAKER)
    assert open_subject("their_maker:make").preprocessing.image_size == (48, 48)
    asked = open_subject("their_maker:make", kwargs={"size": 64})
    assert asked.preprocessing.image_size == (64, 64)
    assert not asked.is_size_tried
    assert defaults_of("their_nothing:make") == {}


def test_class_names_are_the_models_own(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Takes(32, config=SimpleNamespace(id2label={1: "dog", 0: "cat"}))
    assert opened(monkeypatch, named).label_names == ("cat", "dog")
    unnamed = Takes(32, config=SimpleNamespace(id2label={0: "LABEL_0", 1: "LABEL_1"}))
    assert opened(monkeypatch, unnamed).label_names is None


def test_an_image_is_of_the_weights_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    half = opened(monkeypatch, Takes(32).bfloat16())
    pixels = np.full((32, 32, 3), 255, dtype=np.uint8)
    assert half.normalised(pixels).dtype == torch.bfloat16
    assert torch.equal(half.normalised(pixels), torch.ones(1, 3, 32, 32, dtype=torch.bfloat16))


def test_a_model_that_cannot_be_made_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        nowhere = nn.Linear(2, 2)
    with pytest.raises(ModelError, match=r"their:model cannot be made ready to look at.*meta tensor"):
        opened(monkeypatch, nowhere)


def test_a_compiled_model_is_tried_as_it_was_written(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: Any = torch.compile(Takes(32), backend=lambda graph, inputs: pytest.fail("it was compiled"))
    assert opened(monkeypatch, compiled).preprocessing.image_size == (32, 32)


@pytest.mark.parametrize(
    ("place", "given", "error", "sentence"),
    [
        ("their_code:tiny", {"image_size": 48}, ModelError, r"does not take images of 48×48 pixels: it raised ModelError \(.*got \(1, 3, 48, 48\)"),
        ("their_code:tiny", {"channels": 1}, ModelError, r"does not take any size that was tried \(28 to 518 .*; it takes 32×32 pixels with 3"),
        ("their_code:tiny", {"channels": 4}, UsageError, "--channels 4 is for images of 4 channels, and pictures have 1"),
        ("their_code:tiny", {"channels": 0}, UsageError, "--channels is 0, expected a number of at least 1"),
        ("their_code:tiny", {"image_size": 0}, UsageError, "--image-size is 0, expected a number of pixels"),
        ("their_code:Leaves", {}, ModelError, r"its forward raised SystemExit \(5\) in their_code.py"),
        ("their_code:Fails", {"image_size": 32, "channels": 3}, ModelError, r"whatever the size of the images, .* KeyError \('pixels'\) in their_"),
    ],
)  # fmt: skip
def test_code_that_takes_no_image(place: str, given: dict[str, Any], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        open_subject(place, **given)


def test_what_need_be_no_picture_has_any_number_of_channels(tmp_path: Path) -> None:
    (tmp_path / "their_maker.py").write_text(MAKER)
    four: dict[str, Any] = {"kwargs": {"chans": 4}}
    for channels in (None, 4):
        found = open_subject("their_maker:make", **four, channels=channels, needs_pictures=False)
        assert (found.preprocessing.image_size, found.preprocessing.channels) == ((48, 48), 4)
    with pytest.raises(
        ArgumentError, match="their_maker:make is for images of 4 channels, and pictures have 1"
    ) as told:
        open_subject("their_maker:make", **four)
    assert "4チャネルの画像用" in told.value.text.ja
    with pytest.raises(ModelError, match="it takes 48×48 pixels with 3 channels"):
        open_subject("their_maker:make", channels=4, needs_pictures=False)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("their_code", "their_code:NAME"),
        ("their_package.vit", "their_package.vit:NAME"),
        ("their_package.vit.build", "their_package.vit:build"),
        ("their_package.vat", "their_package:vat"),
        ("their_package", "their_package:NAME"),
        ("their_package/", "their_package:NAME"),
    ],
)
def test_a_module_without_its_callable_is_known_without_running_it(tmp_path: Path, word: str, meant: str) -> None:
    package = tmp_path / "their_package"
    package.mkdir()
    for name in ("__init__", "vit"):
        (package / f"{name}.py").write_text("raise SystemExit('it was run')")
    before = set(sys.modules)
    with pytest.raises(UsageError, match=f"is a Python module; write {meant} ") as refused:
        open_subject(word)
    assert set(sys.modules) == before
    assert f"{meant}のように" in refused.value.text.ja
    assert kind_of("their_nothing.vit") == "name"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"channels": 1}, "their_code:tinyは試したどのサイズの画像（28〜518画素）も受け付けません。"),
        ({"image_size": 48}, "their_code:tinyは48×48画素の画像を受け付けません。"),
    ],
)
def test_which_images_are_refused_is_told_in_japanese_too(given: dict[str, Any], said: str) -> None:
    with pytest.raises(CodeError) as refused:
        open_subject("their_code:tiny", **given)
    assert refused.value.text.ja.startswith(said)


def test_code_makes_the_same_weights_each_time_and_draws_nothing_of_ours() -> None:
    state = torch.get_rng_state()
    one, other = open_subject("their_code:tiny"), open_subject("their_code:tiny")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))
