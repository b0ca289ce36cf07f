"""Growth: which points, what is left out, and sentences that follow from closed-form numbers and the measured ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from bench_samples import FakeFleet

from vitscope._core.pictures import save
from vitscope.bench.growth import AXES, BASE, GrowthResult, Survey, map_share, run_growth, spec_at
from vitscope.bench.growth_picture import draw_growth
from vitscope.model.size import size_of


def linear(library: str, cell: Mapping[str, Any], setting: str) -> float:
    """A machine on which time is FLOPs, and nothing else."""
    axis, _, value = cell["model"].partition(" ")
    flops = size_of(spec_at(axis, int(value))).flops * cell["batch"]
    return flops * (3 if cell["mode"] == "train" else 1) / 1e12


def survey(seconds: float = 1e6, step: Any = linear) -> GrowthResult:
    fleet = FakeFleet(step)
    return Survey(fleet.processes, seconds=seconds, rounds=3, clock=fleet.clock).run()


def test_one_thing_is_varied_at_a_time_and_the_base_is_measured_once() -> None:
    fleet = FakeFleet(linear)
    result = Survey(fleet.processes, seconds=1e6, rounds=2, clock=fleet.clock).run()
    for axis in AXES:
        assert tuple(p.value for p in result.of(axis.key, "train")) == axis.values
        assert axis.base in axis.values
    built = [key for _, does, key in fleet.log if does == "build"]
    assert len(built) == 2 * (sum(len(axis.values) for axis in AXES) - len(AXES) + 1)
    assert {p.precision for p in result.points} == {"bf16"}


def test_the_share_of_attention_by_hand() -> None:
    spec = spec_at("patch_size", 4)
    assert spec.tokens == 56 * 56 + 1
    block = 4 * 3137**2 * 192
    rest = 8 * 3137 * 192**2 + 4 * 3137 * 192 * 768
    flops = 6 * (block + rest) + 2 * 3136 * 48 * 192 + 2 * 192 * 1000
    assert size_of(spec).flops == flops
    assert map_share(spec) == pytest.approx(6 * block / flops)


def test_advice_tells_the_numbers_in_both_languages() -> None:
    said = survey().advice
    share = f"{map_share(spec_at('patch_size', 4)):.0%}"
    assert said[0].en.startswith(
        f"At 224 with patch 4 attention takes {share} of the FLOPs, with patch 16 14%: at patch 4 attention dominates,"
    )
    assert "from 1,152 tokens on (2 D + M)" in said[1].en  # 2 · 192 + 768
    assert "Halving the patch from 16 to 8 made 4.0 times the tokens" in said[2].en
    assert any("1.00 times as long for each FLOP" in one.en for one in said)
    for one in said:
        assert one.en.endswith(".")
        assert one.ja.endswith(("です。", "ます。", "ました。", "でした。", "ません。", "ください。", "未満です。"))
        assert "{" not in one.en + one.ja


def test_what_is_too_large_is_named() -> None:
    slow = survey(step=lambda *words: 100 * linear(*words))
    assert any(
        one.axis == "patch_size" and one.value == 4 and "a step would take about" in one.why.en for one in slow.skipped
    )
    short = survey(seconds=0.5)
    assert any("budget" in one.why.en for one in short.skipped)
    assert len(short.points) + len(short.skipped) == 2 * sum(len(axis.values) for axis in AXES)


def test_json_and_picture(tmp_path: Path) -> None:
    result = survey()
    document = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert document["base"] == BASE.to_dict()
    assert {"axis", "value", "mode", "seconds_per_image", "flops_per_image", "peak_bytes"} <= set(document["points"][0])
    save(draw_growth(result), tmp_path / "g.png", tmp_path / "g.svg")
    text = (tmp_path / "g.svg").read_text(encoding="utf-8")
    assert all(axis.name.en in text for axis in AXES)


def test_numbers_that_do_not_fit_are_refused() -> None:
    from vitscope._core.errors import UsageError

    with pytest.raises(UsageError, match="--minutes is 0"):
        run_growth(minutes=0.0)
