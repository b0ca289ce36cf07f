"""What `compare A B` names: code whose constructor keeps something, seeds itself, or knows no arguments."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from vitscope._core.errors import ModelError, UsageError
from vitscope.race.contest import made
from vitscope.race.names import names_of
from vitscope.race.targets import Pair, Wanted, open_pair

CODE = """
from functools import lru_cache
import torch
from torch import nn
import vitscope

SHARED = nn.Conv2d(3, 16, 4, 4)

def fresh(heads=2):
    return vitscope.create_model('vit-ti4-32', dim=16, depth=1, heads=heads, mlp_dim=32, patch_size=4, image_size=(8, 8), classes=10)

def sharing():
    model = fresh()
    model.aside = SHARED
    return model

def seeded():
    torch.manual_seed(0)
    return fresh()

@lru_cache
def cached():
    return fresh()

def failing(text):
    raise ValueError(text)

class Failing(nn.Module):
    def forward(self, x):
        raise ValueError('never')

FINISHED = fresh()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "its_code.py").write_text(CODE)
    (tmp_path / "good.yaml").write_text(
        "name: good-vit\ndim: 16\ndepth: 1\nheads: 2\nmlp_dim: 32\nimage_size: 8\npatch_size: 4\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "its_code", raising=False)
    return tmp_path


def opened(name: str) -> Pair:
    return open_pair("good.yaml", f"its_code:{name}", Wanted())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("sharing", "puts the same 2 tensors into every model that it makes"),
        ("seeded", "makes the same weights whatever the seed"),
        ("cached", "is a finished module: each seed starts from the weights that it has"),
        ("FINISHED", "is a finished module: each seed starts from the weights that it has"),
    ],
)
def test_what_a_constructor_keeps_is_told(folder: Path, name: str, words: str) -> None:
    pair = opened(name)
    assert [words in note.en for note in pair.notes] == [True]
    assert "シード" in pair.notes[0].ja
    first, second = made(pair.other.make, 0), made(pair.other.make, 0)
    places = {parameter.data_ptr() for parameter in first.parameters()}
    assert not places & {parameter.data_ptr() for parameter in second.parameters()}


def test_a_constructor_that_keeps_nothing_is_not_told(folder: Path) -> None:
    pair = opened("fresh")
    assert pair.notes == ()
    one, other = (torch.cat([p.flatten() for p in made(pair.other.make, seed).parameters()]) for seed in (0, 1))
    assert not torch.equal(one, other)


def test_the_same_code_twice_is_told_apart(folder: Path) -> None:
    def named(one: dict[str, object] | None, other: dict[str, object] | None) -> tuple[str, str]:
        pair = open_pair("its_code:fresh", "its_code:fresh", Wanted((one, other), image_size=8))
        return pair.one.name, pair.other.name

    assert named({"heads": 2}, {"heads": 4}) == ("its_code:fresh(heads=2)", "its_code:fresh(heads=4)")
    assert named(None, {"heads": 4}) == ("its_code:fresh", "its_code:fresh(heads=4)")
    assert named(None, None) == ("its_code:fresh (A)", "its_code:fresh (B)")
    with pytest.raises(ModelError, match=r"^B: "):
        named(None, {"heads": 0})


def test_code_that_takes_other_images_than_the_other_is_told_with_both_sizes(folder: Path) -> None:
    (folder / "its_code.py").write_text(CODE.replace("heads=2)", "heads=2, size=8)").replace("(8, 8)", "(size, size)"))
    with pytest.raises(UsageError) as raised:
        open_pair("its_code:fresh", "its_code:fresh", Wanted(({"size": 16}, {"size": 32})))
    assert str(raised.value).startswith(
        "its_code:fresh(size=16) takes images of 16×16 pixels with 3 channels and its_code:fresh(size=32) of 32×32 pixels with 3 channels; a race"
    )


def test_notes_name_the_one_that_they_are_of(folder: Path) -> None:
    pair = open_pair("its_code:seeded", "its_code:seeded", Wanted(image_size=8))
    assert [note.en.split(" makes")[0] for note in pair.notes] == ["its_code:seeded (A)", "its_code:seeded (B)"]


def test_names_differ_whatever_is_given() -> None:
    assert names_of(("runs/a/x", "runs/b/x"), ("x", "x"), (None, None)) == ("runs/a/x", "runs/b/x")
    long = {"words": "w" * 80}
    assert names_of(("m:f", "m:f"), ("m:f", "m:f"), (long, None)) == ("m:f (A)", "m:f (B)")
    assert names_of(("m:f", "m:f"), ("m:f", "m:f"), ({"a": "b: c"}, None)) == ("m:f (A)", "m:f (B)")
    both = ({"a": 1, "b": 2}, {"a": 1, "b": 3})
    assert names_of(("m:f", "m:f"), ("m:f", "m:f"), both) == ("m:f(b=2)", "m:f(b=3)")


@pytest.mark.parametrize("side", ["a", "b"])
def test_arguments_are_for_code_even_where_there_are_none(folder: Path, side: str) -> None:
    kwargs = ({}, None) if side == "a" else (None, {})
    with pytest.raises(UsageError, match=f"--kwargs-{side} is for package.module:callable; good.yaml knows its own"):
        open_pair("good.yaml", "good.yaml", Wanted(kwargs))


@pytest.mark.parametrize("name", ["failing", "Failing"])
@pytest.mark.parametrize("side", ["a", "b"])
def test_advice_names_the_arguments_of_the_side_that_failed(folder: Path, name: str, side: str) -> None:
    pair = ("good.yaml", f"its_code:{name}") if side == "b" else (f"its_code:{name}", "good.yaml")
    with pytest.raises(ModelError) as raised:
        open_pair(*pair, Wanted())
    for said in (raised.value.text.en, raised.value.text.ja):
        assert f"--kwargs-{side}" in said
        assert "--kwargs" not in said.replace(f"--kwargs-{side}", "")


def test_the_same_code_that_fails_twice_names_the_first_side(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"^A: .* --kwargs-a$"):
        open_pair("its_code:failing", "its_code:failing", Wanted())
