"""What the lens refuses is said in Japanese as well, since pages, reports and the doctor quote it."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from lens_samples import tiny_image
from test_lens_attacks import Written
from torch import Tensor, nn

import vitscope
from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.examine import diagnose
from vitscope.doctor.patient import not_followed
from vitscope.lens.forward import why_it_failed
from vitscope.lens.trace import trace

JAPANESE = re.compile(r"[ぁ-ん]")
SOURCE = Path(vitscope.__file__).parent
NEVER_QUOTED = {"doctor/attention/weights.py", "doctor/mixing/behind.py"}
"""Who calls these goes on without them."""


def raised() -> Iterator[tuple[str, ast.expr]]:
    """Each message of a `LensError` in the source, both sides of an `if`, and where it is."""
    for file in sorted(SOURCE.rglob("*.py")):
        name = file.relative_to(SOURCE).as_posix()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "LensError":
                (message,) = node.args
                each = [message.body, message.orelse] if isinstance(message, ast.IfExp) else [message]
                yield from ((name, one) for one in each if name not in NEVER_QUOTED)


def is_in_both(name: str, message: ast.expr) -> bool:
    """Whether a message is a `Text` with Japanese in it, a constant that is one (filled in or not), or comes from a function that gives one."""
    module = import_module(f"vitscope.{name.removesuffix('.py').replace('/', '.')}")
    if isinstance(message, ast.Call) and isinstance(message.func, ast.Attribute) and message.func.attr == "format":
        message = message.func.value
    if isinstance(message, ast.Call) and isinstance(message.func, ast.Name) and message.func.id == "Text":
        return JAPANESE.search(ast.unparse(message.args[1])) is not None
    if isinstance(message, ast.Call) and isinstance(message.func, ast.Name):
        return getattr(module, message.func.id).__annotations__["return"] in ("Text", Text)  # beartype may resolve it
    constant = getattr(module, message.id, None) if isinstance(message, ast.Name) else None
    return isinstance(constant, Text) and JAPANESE.search(constant.ja) is not None


def test_whatever_is_refused_is_refused_in_both_languages() -> None:
    found = list(raised())
    assert len(found) > 35
    assert [f"{name}:{message.lineno}" for name, message in found if not is_in_both(name, message)] == []


@pytest.mark.parametrize("sentence", ["'one'", "f'{where} of it'", "_not_a_text", "Text('one', 'one')", "str('one')"])
def test_what_has_no_japanese_is_seen(sentence: str) -> None:
    message = ast.parse(sentence, mode="eval").body
    try:
        assert not is_in_both("lens/tape.py", message)
    except AttributeError:  # no function of that module
        assert isinstance(message, ast.Call)


def test_an_error_speaks_english_and_carries_both() -> None:
    error = LensError(Text("a patch", "パッチ"))
    assert (str(error), error.args, error.text) == ("a patch", ("a patch",), Text("a patch", "パッチ"))
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.text) == ("a patch", Text("a patch", "パッチ"))
    assert LensError("a patch").text == Text("a patch", "a patch")


def linear(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return nn.functional.elu(q) @ (k.softmax(-2).mT @ v)


def spoilt() -> nn.Module:
    model = Written()
    with torch.no_grad():
        model.norm.weight.fill_(torch.nan)
    return model


class Failing(Written):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError


@pytest.mark.parametrize(
    ("make", "english", "japanese"),
    [
        (
            spoilt,
            "what the model gives is NaN, since a parameter of norm holds NaN",
            "normのパラメータにNaNが含まれているため、モデルの出力がNaNになり",
        ),
        (
            lambda: Written(core=linear),
            "is no attention the lens knows",
            "blocks.0に、計算で得た2つのテンソルの積のうち",
        ),
        (
            Failing,
            "with ValueError: without a word",
            "モデル自体の順伝播が失敗します（ValueError: メッセージなし）",
        ),
    ],
    ids=["NaN", "linear attention", "failing"],
)
def test_the_japanese_sentence_says_the_same(make: Callable[[], nn.Module], english: str, japanese: str) -> None:
    with pytest.raises(LensError) as refusal:
        trace(make(), tiny_image())
    said = refusal.value.text
    assert str(refusal.value) == said.en
    assert english in said.en
    assert japanese in said.ja
    assert not said.ja.endswith("。")  # who quotes it ends it


def test_values_of_another_precision_are_told_in_japanese() -> None:
    model = Written()
    model.head.half()
    why = why_it_failed(model, tiny_image().double(), RuntimeError("expected float"))
    assert why.en.startswith("the image is torch.float64 and the model's weights are torch.float16 and torch.float32")
    assert why.ja.startswith("画像はtorch.float64、モデルの重みはtorch.float16とtorch.float32です")


class OneByOne(Written):
    """It takes batches of any size, or of one only."""

    def __init__(self, only: int | None = None) -> None:
        super().__init__(core=linear)
        self.only = only

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) == (self.only or len(x))
        return torch.cat([super(OneByOne, self).forward(one[None]) for one in x])


@pytest.mark.parametrize(
    ("model", "english", "japanese"),
    [
        (
            OneByOne(),
            "blocks.0 multiplies two computed tensors",
            "blocks.0に、計算で得た2つのテンソルの積のうち",
        ),
        (
            OneByOne(only=2),
            "the model takes batches of 2 only, and the lens follows one image",
            "バッチサイズが2に限られるモデルの追跡には対応していません",
        ),
    ],
    ids=["linear attention", "one batch size"],
)
def test_the_doctor_says_in_japanese_why_it_did_not_look(model: nn.Module, english: str, japanese: str) -> None:
    (skip,) = diagnose(model, image_size=32, num_classes=10, checks=["attention"]).skipped
    assert skip.why.en.startswith(f"the inside of this model was not followed so far: {english}")
    assert skip.why.ja.startswith(f"モデルの内部を追跡できませんでした: {japanese}")


def test_a_check_that_the_lens_ends_is_skipped_in_japanese(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(patient: Any) -> Any:
        raise LensError(Text("it writes over numbers", "値を上書きしています"))

    monkeypatch.setitem(import_module("vitscope.doctor.checks").CHECKS, "position", lost)
    (skip,) = diagnose(Written(), image_size=32, num_classes=10, checks=["position"]).skipped
    assert "it writes over numbers" in skip.why.en
    assert "値を上書きしています" in skip.why.ja


def test_an_error_of_somebody_elses_is_quoted_as_it_is() -> None:
    why = not_followed(RuntimeError("shapes (2) and (3)\nand more"))
    assert why.en.endswith(": shapes (2) and (3)")
    assert why.ja.endswith(": shapes (2) and (3)")
    assert not_followed(KeyError()).ja.endswith(": KeyError")
