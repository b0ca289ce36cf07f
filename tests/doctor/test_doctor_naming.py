"""Names in sentences: the first three, how many there are, and what each language makes of them."""

from __future__ import annotations

import pytest

from vitscope._core.text import Text
from vitscope.doctor.catalogue import faults
from vitscope.doctor.naming import listed, part_of, without_numbers

FAULT = faults()[0]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["a"], "a"),
        (["a", "b", "a"], "a, b"),
        (["a", "b", "c", "d"], "a, b, c … (4)"),
        (["", "a"], "the model, a"),
    ],
)
def test_listed(names: list[str], said: str) -> None:
    assert listed(names) == said


def test_each_language_has_its_own_way() -> None:
    named = listed(["a.0", "b", "", "c"])
    told = FAULT.found(Text(f"in {named}", f"{named}で（the model gives nothing）"), {}).summary
    assert told.en == "in a.0, b, the model … (4 in all)"
    assert told.ja == "a.0、b、モデル本体…（全4個）で（the model gives nothing）", (
        "an error of somebody's stays as it is"
    )


@pytest.mark.parametrize(
    "evidence",
    [
        {"raised": "RuntimeError: output 0 of Softmax, is at version 1; the model … (3)."},
        {"errors": {"1": "RuntimeError: output 0 of Softmax, is at version 1; the model … (3)"}},
    ],
)
@pytest.mark.parametrize("kind", ["RuntimeError: ", "前に送出："])
def test_what_an_error_said_is_quoted_as_it_is(evidence: dict[str, object], kind: str) -> None:
    said = f"{kind}output 0 of Softmax, is at version 1; the model … (3)"
    told = FAULT.found(Text("", f"fc1, fc2で失敗します（{said}）。the modelです"), evidence).summary
    assert told.ja == f"fc1、fc2で失敗します（{said}）。モデル本体です"


def test_without_numbers() -> None:
    assert without_numbers("blocks.11.mlp.fc1") == "blocks.*.mlp.fc*"


def test_the_noun_stands_in_the_number_of_all() -> None:
    assert [part_of(1, 1, "block"), part_of(1, 3, "block")] == ["1 of 1 block", "1 of 3 blocks"]
