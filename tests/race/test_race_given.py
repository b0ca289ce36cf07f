"""`vitscope.compare` in Python: what it takes, what each seed starts from, and one sentence about what does not fit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import vitscope
from vitscope._core.errors import ModelError, VitscopeError
from vitscope.race.contest import made
from vitscope.race.entrants import Entrant
from vitscope.race.given import _side, pair_of
from vitscope.race.renewing import renewing
from vitscope.race.targets import Pair

SIZES: dict[str, Any] = {"dim": 16, "depth": 1, "heads": 2, "mlp_dim": 32, "image_size": (8, 8), "patch_size": (4, 4)}
SHORT: dict[str, Any] = {"data": "digits", "duration": "2st", "checks": ["output"]}


def good() -> nn.Module:
    return vitscope.create_model("good-vit", **SIZES)


def seeded() -> nn.Module:
    torch.manual_seed(0)
    return good()


class Plain(nn.Module):
    """A ViT whose parameters all belong to layers that can draw them anew; with `bare`, all but one."""

    def __init__(self, *, bare: bool = False, copies: int = 1) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 16, 4, 4)
        self.blocks = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 32, 0.0, batch_first=True), copies, enable_nested_tensor=False
        )
        self.norm, self.head = nn.BatchNorm1d(16), nn.Linear(16, 10)
        self.place = nn.Parameter(torch.randn(4, 16)) if bare else nn.Embedding(4, 16).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        place = self.place if isinstance(self.place, nn.Parameter) else self.place.weight
        return self.head(self.norm(self.blocks(self.cut(x).flatten(2).transpose(1, 2) + place).mean(1)))


def opened(a: Any, b: Any, **more: Any) -> Pair:
    how: dict[str, Any] = {"names": None, "image_size": (8, 8), "channels": None, "has_race": True}
    return pair_of(a, b, **{**how, **more})


def starts(entrant: Entrant) -> list[Tensor]:
    return [torch.cat([p.detach().flatten() for p in made(entrant.make, seed).parameters()]) for seed in (0, 1)]


@pytest.mark.e2e
def test_factories_race_on_data_with_fresh_weights_for_each_seed() -> None:
    found = vitscope.compare(
        good, lambda: vitscope.create_model("bad-vit", **SIZES), image_size=8, seeds=[3, 5], **SHORT
    )
    assert found.race is not None
    assert (found.one.target, found.other.target) == ("good", "B")
    assert [heat.seed for heat in found.race.heats] == [3, 3, 5, 5]
    assert found.starts == ("fresh", "fresh")
    assert found.to_dict()["starts"] == ["fresh", "fresh"]
    assert [note.en.split(":")[0] for note in found.notes] == ["Images"]


@pytest.mark.e2e
def test_a_name_races_a_module_on_a_folder_of_images_and_knows_the_size(tmp_path: Path) -> None:
    from PIL import Image

    for split in ("train", "val"):
        for number in range(10):
            folder = tmp_path / split / f"class{number}"
            folder.mkdir(parents=True)
            for index in range(2):
                Image.new("RGB", (8, 8), (25 * number, 100, 120 * index)).save(folder / f"{index}.png")
    (tmp_path / "mine.yaml").write_text(
        "name: good-vit\ndim: 16\ndepth: 1\nheads: 2\nmlp_dim: 32\nimage_size: 8\npatch_size: 4\n"
    )
    found = vitscope.compare(str(tmp_path / "mine.yaml"), good(), seeds=1, **{**SHORT, "data": tmp_path})
    assert found.race is not None
    assert found.race.course.steps == 2
    assert found.starts == ("fresh", "same")


def test_defaults_are_those_of_the_command() -> None:
    from vitscope.cli.compare import compare as command

    ours, theirs = inspect.signature(vitscope.compare).parameters, inspect.signature(command).parameters
    for name in ("data", "duration", "seeds", "image_size", "channels"):
        assert ours[name].default is theirs[name].default is None


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (good, "fresh", None),
        (seeded, "same", "makes the same weights whatever the seed"),
        (good(), "same", "is a finished module: each seed starts from the weights that it has; give what makes it"),
        (Plain(), "fresh", "is a finished module with start values still: each seed starts from others"),
        (
            Plain(bare=True),
            "same",
            "is a finished module: each seed starts from the weights that it has; give what makes it",
        ),
    ],
)
def test_what_each_seed_starts_from_is_known(make: Any, kind: str, words: str | None) -> None:
    pair = opened(make, good)
    assert pair.one.starts == kind
    assert [str(words) in note.en for note in pair.notes] == [True] * (words is not None)
    one, other = starts(pair.one)
    assert torch.equal(one, other) == (kind == "same")
    assert torch.equal(one, starts(pair.one)[0])
    assert opened(make, good, has_race=False).notes == ()


def trained() -> nn.Module:
    model = Plain()
    with torch.no_grad():
        model.norm.weight.add_(0.01)
    return model


def otherwise_initialised() -> nn.Module:
    model = Plain()
    nn.init.trunc_normal_(model.head.weight, std=0.02)
    return model


@pytest.mark.parametrize("make", [trained, otherwise_initialised, lambda: Plain(copies=2)])
def test_weights_that_no_layer_would_draw_stay(make: Callable[[], nn.Module]) -> None:
    assert renewing(make()) is None


def test_a_module_that_is_drawn_anew_stays_as_it_is() -> None:
    model = Plain()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pair = opened(model, good)
    made(pair.one.make, 1)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def needs(size: int) -> nn.Module:
    return good()


def of_no_module() -> int:
    return 42


@pytest.mark.parametrize(
    ("a", "b", "more", "words"),
    [
        (
            good,
            "its:code",
            {},
            "its:code is code, which vitscope.compare does not import; give the class or function itself",
        ),
        (good, "god-vit", {}, "god-vit"),
        (
            needs,
            good,
            {},
            "needs raised TypeError (needs() missing 1 required positional argument: 'size'); give what makes an nn.Module when",
        ),
        (
            good,
            of_no_module,
            {},
            "of_no_module gave an int; give what makes an nn.Module when it is called without arguments",
        ),
        (good, good, {"image_size": None}, "image_size is missing, expected the side of the models' images in pixels"),
        (
            "good-vit",
            good,
            {"image_size": 8},
            "good-vit takes images of 32×32 pixels with 3 channels, not of 8×8 pixels",
        ),
        ("good-vit", "vit-ti16-224", {"image_size": None}, "say it with image_size and channels"),
        (good, good, {"seeds": 0}, "seeds is 0, expected a number from 1 to 10"),
        (good, good, {"seeds": [1, 1]}, "seeds is [1, 1], expected"),
        (good, good, {"seeds": 10**12}, "seeds is 1000000000000, expected"),
        (good, good, {"duration": "long"}, "duration is long, expected epochs such as 10ep"),
        (good, good, {"channels": 4}, "channels is 4, and pictures to race on have 1 (greyscale) or 3 (colour)"),
        (good, good, {"data": "nosuch"}, "unknown data source 'nosuch'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(a: Any, b: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(VitscopeError) as raised:
        vitscope.compare(a, b, **{"image_size": 8, **SHORT, **more})
    assert words in str(raised.value)
    assert "--" not in str(raised.value)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(
        ModelError, match=r"compare takes an nn.Module, what makes one when it is called, or a name, got an int"
    ):
        _side(42, "A", has_race=True)
