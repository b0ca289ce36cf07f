"""The bench's picture: numbers over bars that do not run into each other, and the same picture rules as the curves'."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from bench_samples import FakeFleet
from test_bench_run import bench_of, plan_of, steady

from vitscope._core import pictures
from vitscope.bench.picture import draw_bench


def labels(batches: str) -> list[Any]:
    """What stands over the bars of the first panel, which has numbers of four digits."""
    fleet = FakeFleet(steady)
    figure = draw_bench(bench_of(fleet, plan_of("timm", "transformers", "vit-pytorch", batches=batches)).run())
    return [text for text in figure.axes[0].texts if text.get_text().strip()]


def test_numbers_lie_where_there_is_room_and_stand_where_there_is_not() -> None:
    few, many = labels("128,64"), labels("128,64,32,16,8,4")
    assert {text.get_text().strip() for text in few} >= {"2,560", "1,422"}
    assert {text.get_rotation() for text in few} == {0}
    assert {text.get_rotation() for text in many} == {90}


def test_titles_ask_no_japanese_font_for_a_bold_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "japanese_font", lambda: "DejaVu Serif")  # takes the place of one
    result = bench_of(FakeFleet(steady), replace(plan_of("timm"), rounds=1)).run()
    titles = {lang: draw_bench(result, lang).axes[0].title for lang in ("en", "ja")}
    left = {lang: draw_bench(result, lang).axes[0].get_title(loc="left") for lang in ("en", "ja")}
    assert left == {"en": "specimen, training", "ja": "specimen、学習"}
    assert titles["ja"].get_fontweight() == "normal"
