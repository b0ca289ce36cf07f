"""No fix in code speaks English on a Japanese page."""

from __future__ import annotations

import pytest

from vitscope.doctor.catalogue import faults
from vitscope.doctor.comments import code_in
from vitscope.doctor.finding import Fault
from vitscope.doctor.learning.overfit import FLOOR

CODE_ALONE = {"B C H/P W/P P P", "drop_last=False", "head_dim = dim // heads"}
"""Comments that are the same in every language."""
COMMENTED = [fault for fault in faults() if "#" in fault.code]


@pytest.mark.parametrize("fault", COMMENTED, ids=lambda fault: fault.id)
def test_every_comment_is_there_in_japanese(fault: Fault) -> None:
    en, ja = fault.code.splitlines(), code_in(fault.code, "ja").splitlines()
    for one, other in zip(en, ja, strict=True):
        code, *comments = one.split("# ")
        assert other.startswith(code)
        told = other.split("# ")[1:]
        assert [a == b for a, b in zip(comments, told, strict=True)] == [a.strip() in CODE_ALONE for a in comments]


def test_code_is_told_in_the_language_that_is_asked_for() -> None:
    code = "x = block(x)   # not out = block(x)"
    assert code_in(code, "en") == code
    assert code_in(code, "ja") == "x = block(x)   # out = block(x) ではない"
    assert code_in("a   # or: b   # not c", "ja") == "a   # または b   # c ではない"
    assert code_in("return self.head(x)", "ja") == "return self.head(x)"


def test_json_and_pages_hold_it() -> None:
    finding = next(fault for fault in COMMENTED if fault.id == "block-result-unused").found(FLOOR.why, {})
    assert finding.to_dict("en")["code"].endswith("# not out = block(x)")
    assert finding.to_dict("ja")["code"].endswith("# out = block(x) ではない")
