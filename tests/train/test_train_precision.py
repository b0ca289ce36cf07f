"""bf16 on a CPU that is slow at it: fp32 is taken, said and done, unless that was forbidden."""

from __future__ import annotations

import pytest
import torch
from train_samples import small_vit, spec_of

from vitscope.train import precision
from vitscope.train.machine import open_machine
from vitscope.train.precision import cost_of_bf16, quick_precision

CPU = torch.device("cpu")


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "cost_of_bf16", lambda: 46.2)


def test_a_cost_is_measured() -> None:
    cost_of_bf16.cache_clear()
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    assert 0 < cost_of_bf16() < 1e4
    assert cost_of_bf16() is cost_of_bf16()
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("slow")
def test_fp32_is_taken_where_bf16_is_slow_and_said() -> None:
    with open_machine(small_vit(), spec_of(precision="bf16", device="cpu"), None) as machine:
        assert machine.precision == "fp32"
        assert machine.accelerator.mixed_precision == "no"
        assert not machine.fast.masters
        assert "fp32 instead of bf16, whose products take 46 times as long on this CPU" in machine.fast.said.en
        assert "bf16の代わりにfp32（このCPUではbf16の行列積に46倍の時間がかかるため）" in machine.fast.said.ja


@pytest.mark.usefixtures("slow")
def test_what_was_asked_for_is_done_without_the_fast_path() -> None:
    with open_machine(small_vit(), spec_of(precision="bf16", device="cpu", fast=False), None) as machine:
        assert machine.precision == "bf16"
        assert machine.accelerator.mixed_precision == "bf16"


@pytest.mark.usefixtures("slow")
def test_other_precisions_and_devices_are_left_alone() -> None:
    for spec, device in ((spec_of(), CPU), (spec_of(precision="bf16"), torch.device("cuda"))):
        assert quick_precision(spec, device) == (spec, None)


@pytest.mark.parametrize("cost", [0.4, 2.0, 4.0])
def test_a_cpu_that_is_quick_enough_keeps_bf16(monkeypatch: pytest.MonkeyPatch, cost: float) -> None:
    monkeypatch.setattr(precision, "cost_of_bf16", lambda: cost)
    spec = spec_of(precision="bf16")
    assert quick_precision(spec, CPU) == (spec, None)
