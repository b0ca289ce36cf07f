"""What specs say about wrong keys and values, suggestions, languages, and the tree of errors."""

from __future__ import annotations

import ast
import copy
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BeforeValidator, Field, ValidationError

import vitscope
from vitscope._core import errors, shapes
from vitscope._core.errors import ConfigError, VitscopeError
from vitscope._core.spec import Spec
from vitscope._core.suggest import did_you_mean, nearest
from vitscope._core.text import Text, language_of_locale

ROOT = Path(__file__).parents[2]


class Inner(Spec):
    rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    kind: Literal["cosine", "linear"] = "cosine"


class Outer(Spec):
    inner: Inner = Inner()
    maybe: Inner | None = None
    count: int = 3
    name: str
    on: bool = False
    pair: tuple[float, float] = (0.0, 1.0)
    free: dict[str, Any] = Field(default_factory=dict)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "a", "cuont": 1}, "unknown key 'train.cuont' (did you mean 'count'?)"),
        (
            {"name": "a", "zzz": 1},
            "unknown key 'train.zzz'; known keys here: count, free, inner, maybe, name, on, pair",
        ),
        ({"name": "a", "inner": {"rat": 1}}, "unknown key 'train.inner.rat' (did you mean 'rate'?)"),
        ({"name": "a", "maybe": {"knid": "x"}}, "unknown key 'train.maybe.knid' (did you mean 'kind'?)"),
        (
            {"name": "a", "inner": {"kind": "cosin"}},
            "train.inner.kind is 'cosin', expected one of 'cosine' or 'linear' (did you mean 'cosine'?)",
        ),
        ({"name": "a", "inner": {"rate": -1}}, "train.inner.rate is -1, expected a number greater than 0"),
        ({"name": "a", "inner": {"rate": float("nan")}}, "train.inner.rate is nan, expected a finite number"),
        (
            {"name": "a", "count": "many"},
            "train.count is 'many', expected a whole number",
        ),
        ({"name": 3}, "train.name is 3, expected text in quotes"),
        ({"name": "a", "inner": 3}, "train.inner is 3, expected settings such as {rate: …}"),
        ({"name": "a", "inner": None}, "train.inner is null, expected settings such as {rate: …}"),
        ({"name": "a", "on": "perhaps"}, "train.on is 'perhaps', expected true or false"),
        ({"name": "a", "pair": [1]}, "train.pair is [1], expected a longer list"),
        ({"name": "a", "pair": [1, 2, 3]}, "train.pair is [1, 2, 3], expected a shorter list"),
        ({"name": "a", "pair": 1}, "train.pair is 1, expected a list"),
        ({"name": "a", "free": {1: 2}}, "unknown key 'train.free.1'; keys are words"),
        ({"name": "a", "inner": {1: 1}}, "unknown key 'train.inner.1'; known keys here: kind, rate"),
        ({"nme": "a", "count": "many"}, "unknown key 'train.nme' (did you mean 'name'?)"),
        ({}, "'train.name' is missing and has no default; give it a value"),
    ],
)
def test_one_sentence_for_what_is_wrong(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse(values, "train")
    assert str(caught.value) == message


def test_without_a_prefix_the_key_stands_alone() -> None:
    with pytest.raises(ConfigError, match=r"^count is 'x'"):
        Outer.parse({"name": "a", "count": "x"})


def test_specs_are_frozen_and_change_by_validated_copies() -> None:
    spec = Outer(name="a")
    with pytest.raises(ValidationError):
        spec.count = 4  # type: ignore[misc]
    assert spec.changed(count=4).count == 4
    assert spec.count == 3
    with pytest.raises(ConfigError, match="unknown key 'coutn'"):
        spec.changed(coutn=4)
    assert Outer.parse(spec.to_dict()) == spec
    assert isinstance(spec.changed(), Outer)


@pytest.mark.parametrize(
    ("word", "known", "best"),
    [
        ("post-nrom", ["post-norm", "pre-norm"], "post-norm"),
        ("DIM", ["dim", "depth"], "dim"),
        ("vit-b16-244", ["vit-b16-224", "good-vit"], "vit-b16-224"),
        ("xylophone", ["dim", "depth"], None),
        ("", ["dim"], None),
        ("dim", [], None),
    ],
)
def test_suggestions(word: str, known: list[str], best: str | None) -> None:
    assert nearest(word, known) == best
    assert did_you_mean(word, known) == (f" (did you mean '{best}'?)" if best else "")


def test_text_holds_both_languages() -> None:
    text = Text("{n} layers", "{n}層")
    assert (text["en"], text["ja"]) == ("{n} layers", "{n}層")
    assert text.format(n=12) == Text("12 layers", "12層")
    assert text.to_dict() == {"en": "{n} layers", "ja": "{n}層"}


@pytest.mark.parametrize(
    ("environment", "language"),
    [
        ({}, "en"),
        ({"LANG": "ja_JP.UTF-8"}, "ja"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({"LANG": "ja_JP.UTF-8", "LC_ALL": "C"}, "en"),
        ({"LANG": "en_US.UTF-8", "LC_MESSAGES": "ja_JP"}, "ja"),
        ({"LC_ALL": "", "LANG": "ja"}, "ja"),
        ({"LC_ALL": "JA_JP.eucJP"}, "ja"),
    ],
)
def test_language_follows_the_locale(
    environment: dict[str, str], language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert language_of_locale() == language


def test_every_error_is_in_the_tree_that_its_module_draws() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    for kind in kinds:
        assert issubclass(kind, VitscopeError)
        assert kind.exit_code == (130 if kind.__name__ == "Interrupted" else 2)
        assert kind.__name__ in (errors.__doc__ or "")
    assert len(kinds) >= 11


class Numbers(Spec):
    whole: Annotated[int, Field(gt=0)] = 1
    part: Annotated[float, Field(le=1)] | None = None
    one_of: Literal[1, 3] = 3
    several: tuple[float, ...] = ()
    switch: bool = False
    half: Annotated[float, BeforeValidator(lambda value: 0.5 if value is True else value)] = 0.0


@pytest.mark.parametrize("key", ["whole", "part", "one_of"])
def test_true_is_no_number(key: str) -> None:
    for value in (True, False):
        for make in (Numbers.parse, lambda values: Numbers(**values)):
            with pytest.raises(ConfigError, match=f"^{key} is {str(value).lower()}, expected a number$"):
                make({key: value})
    assert Numbers.parse({key: 1}).to_dict()[key] == 1


def test_nor_among_several_but_where_a_field_takes_it() -> None:
    with pytest.raises(ConfigError, match=r"^several is \[0.5, True\], expected numbers$"):
        Numbers.parse({"several": [0.5, True]})
    assert Numbers(switch=True, half=True).to_dict() == Numbers(switch=True, half=0.5).to_dict()


def test_a_spec_made_by_hand_gives_the_same_sentence() -> None:
    for values in ({"nme": "a"}, {"name": "a", "inner": {"rate": -1}}, {"name": "a", "maybe": {"knid": 1}}, {}):
        with pytest.raises(ConfigError) as parsed:
            Outer.parse(values)
        with pytest.raises(ConfigError) as made:
            Outer(**values)
        assert str(made.value) == str(parsed.value)
    with pytest.raises(ConfigError, match=r"^unknown key 'lrr' \(did you mean 'lr'\?\)$"):
        vitscope.TrainSpec(lrr=1)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=r"^dim 5 does not divide among 12 heads; choose heads that divide it$"):
        vitscope.ViTSpec(dim=5)


def test_specs_are_copied_and_pickled() -> None:
    spec = Outer(name="a", inner=Inner(rate=0.25))
    for other in (pickle.loads(pickle.dumps(spec)), copy.copy(spec), copy.deepcopy(spec), spec.model_copy()):
        assert other == spec
        assert type(other.inner) is Inner


def test_a_models_annotations_use_the_letters_of_the_legend() -> None:
    words = set(re.findall(r"\b[A-Z]\w*", (shapes.__doc__ or "").partition("Where there are no tokens")[0]))
    letters = {letter for path in (ROOT / "src/vitscope/model").rglob("*.py") for letter in annotated(path)}
    assert {"B", "T", "TR", "Tnew"} <= letters
    assert letters <= words


def annotated(path: Path) -> set[str]:
    """The names of axes in the jaxtyping annotations of a file."""
    kinds = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Subscript)]
    kinds = [
        node
        for node in kinds
        if isinstance(node.value, ast.Name) and node.value.id in ("Float", "Int64", "UInt8", "Bool")
    ]
    texts = [
        n.value
        for kind in kinds
        for n in ast.walk(kind.slice)
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    ]
    return {name for text in texts for name in text.split() if not name.isdigit()}


@pytest.mark.parametrize("name", vitscope.__all__)
def test_what_is_exported_is_there(name: str) -> None:
    assert getattr(vitscope, name) is not None
    assert name in dir(vitscope)


def test_specs_are_exported_without_torch() -> None:
    code = "import sys, vitscope; vitscope.ViTSpec(), vitscope.TrainSpec; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"


def test_the_core_needs_no_torch() -> None:
    modules = "errors, files, preprocessing, spec, suggest, text, shapes"
    code = f"import sys; from vitscope._core import {modules}; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "False"
