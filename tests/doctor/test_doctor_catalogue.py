"""The catalogue in docs is what the doctor knows, and each fault is told in full, once, in both languages."""

from __future__ import annotations

import re
from pathlib import Path

from vitscope.doctor.catalogue import faults, page
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.curve.examine import CURVE_CHECKS
from vitscope.doctor.data.examine import DATA_CHECKS

DOCS = Path(__file__).parents[2] / "docs" / "failure-modes.md"


def test_docs_are_up_to_date() -> None:
    assert DOCS.read_text(encoding="utf-8") == page(), "run python -m vitscope.doctor.catalogue > docs/failure-modes.md"


def test_each_fault_is_told_in_full() -> None:
    known = {*CHECKS, *CURVE_CHECKS, *DATA_CHECKS}
    ids = {fault.id for fault in faults()}
    for fault in faults():
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", fault.id), fault.id
        assert fault.check in known or fault.check.startswith("loop-"), fault.check
        assert all((fault.why.en, fault.why.ja, fault.advice.en, fault.advice.ja)), fault.id
        assert re.search(r"[ぁ-んァ-ヶ一-龠]", fault.why.ja), fault.id
        for name in fault.explains:
            assert name in ids | known, f"{fault.id} explains '{name}', which is neither a fault nor a check"
