"""docs/why-is-this-vit-bad.md: its table is made of the records, its numbers are theirs, and both languages say the same."""

from __future__ import annotations

import importlib.util
import re
import statistics
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "benchmarks" / "results" / "2026-11-27-specimens"
PAGES = {"en": ROOT / "docs" / "why-is-this-vit-bad.md", "ja": ROOT / "docs" / "why-is-this-vit-bad.ja.md"}


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("specimens_page", ROOT / "benchmarks" / "specimens_page.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("lang", PAGES)
def test_the_table_is_that_of_the_records(script: ModuleType, lang: str) -> None:
    page = PAGES[lang].read_text(encoding="utf-8")
    assert script.with_table(page, script.table(RECORDS, lang)) == page, (
        "python benchmarks/specimens_page.py benchmarks/results/2026-11-27-specimens"
    )


@pytest.mark.parametrize("lang", PAGES)
def test_the_numbers_of_the_text_are_those_of_the_records(script: ModuleType, lang: str) -> None:
    page = PAGES[lang].read_text(encoding="utf-8")
    last = {
        arm: [row["val_acc"][-1] for row in script.rows_of(RECORDS) if row["arm"] == arm]
        for arm in ("good-vit", "none")
    }
    gaps = [b - a for a, b in zip(last["good-vit"], last["none"], strict=False)]
    for number in (
        f"{statistics.mean(last['none']):.2f} %",
        f"{statistics.mean(last['good-vit']):.2f} %",
        f"{statistics.mean(gaps):.1f}",
        *(f"{gap:.2f}" for gap in gaps),
        f"{statistics.stdev(last['good-vit']):.2f}",
    ):
        assert number in page, number
    assert "{" not in re.sub(r"`[^`]*`", "", page)


def test_both_languages_hold_the_same_numbers_and_links() -> None:
    en, ja = (path.read_text(encoding="utf-8") for path in PAGES.values())
    code = re.compile(r"^```.*?^```$", re.M | re.S)
    assert len(code.findall(en)) == len(code.findall(ja))
    assert [len(line.split("|")) for line in en.splitlines() if line.startswith("|")] == [
        len(line.split("|")) for line in ja.splitlines() if line.startswith("|")
    ]
    for link in re.findall(r"\]\(([^)]+)\)", en + ja):
        assert (ROOT / "docs" / link).exists(), link
