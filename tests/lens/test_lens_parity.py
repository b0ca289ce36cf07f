"""The page of families: each that it lists is measured, each that is measured is listed, and every error is one of rounding."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import parity
import pytest
from lens_samples import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "lens-parity.md"


def listed() -> list[str]:
    rows = re.findall(r"^\| ([^|]+) \|", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return [row for row in rows if row != "family"]


def test_the_page_lists_every_family() -> None:
    assert listed() == parity.names()


def test_the_page_says_how_it_was_made() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert "python tests/lens/parity.py > docs/lens-parity.md" in text
    assert all(re.search(rf"{library} \d+\.\d+", text) for library in ("torch", *parity.LIBRARIES.values()))


def needs(family: str) -> str | None:
    if family in FAMILIES:
        return FAMILIES[family].needs
    return family.split()[0]


@pytest.mark.parametrize("family", parity.names())
def test_each_family_is_proved_to_rounding_or_refused(family: str) -> None:
    library = needs(family)
    if library is not None and find_spec(library) is None:
        pytest.skip(f"{library} is not installed; the extra 'bench' has it")
    row = parity.row(family)
    text = PAGE.read_text(encoding="utf-8")
    if family in parity.REFUSED:
        assert row.refusal
        assert f"| {family} | {row.refusal} |" in text
    else:
        assert not row.refusal
        assert row.error < 1e-5
        assert row.apart < 1e-4
        assert f"| {family} | {row.blocks} | {row.heads} | {row.tokens} |" in text
