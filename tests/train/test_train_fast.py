"""The fast path is the plain training but for rounding: forward, gradients, whole trainings; and it says what it chose."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train_samples import numbers, small_vit, spec_of, table, train

from vitscope.model.attention import set_attention_path
from vitscope.model.create import build
from vitscope.model.specimens.spec import GoodViTSpec
from vitscope.train import memory
from vitscope.train.events import Event, Started
from vitscope.train.fast import choose_fast_path
from vitscope.train.master_weights import MasterWeights

CPU = torch.device("cpu")
IMAGES = torch.from_numpy(table().images).permute(0, 3, 1, 2).float() / 127.5 - 1
LABELS = torch.from_numpy(table().labels)


def gradients_of(model: nn.Module, images: Tensor) -> Tensor:
    """Scores and, one behind the other, all gradients."""
    scores = model(images).float()
    nn.functional.cross_entropy(scores, LABELS).backward()
    return torch.cat([p.grad.flatten().float() for p in model.parameters() if p.grad is not None])


SWITCHES: list[dict[str, Any]] = [
    {},
    {"position": "rotary"},
    {"qk_norm": True},
    {"pooling": "mean", "position": "sincos"},
    {"norm": "post"},
    {"layer_scale": 0.1, "registers": 2},
    {"patch_embedding": "conv"},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_bf16_weights_give_the_scores_and_gradients_of_the_masters(switches: dict[str, Any]) -> None:
    model = small_vit(**switches)
    set_attention_path(model, "explicit")
    plain = gradients_of(model, IMAGES)
    with torch.no_grad():
        expected = model(IMAGES)
    model.zero_grad()
    masters = MasterWeights(model)
    given = masters.worker(IMAGES.bfloat16()).float()
    assert torch.allclose(given, expected, atol=0.03 * expected.abs().max().item() + 0.01)
    nn.functional.cross_entropy(given, LABELS).backward()
    masters.take_gradients()
    quick = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert quick.dtype == torch.float32
    assert torch.linalg.vector_norm(quick - plain) < 0.03 * torch.linalg.vector_norm(plain)


def test_the_worker_holds_what_it_is_handed_and_masters_stay_fp32() -> None:
    model, other = small_vit(0), small_vit(1)
    masters = MasterWeights(model)
    worker = masters.hand_out(other)
    for name, tensor in other.state_dict().items():
        assert torch.equal(worker.state_dict()[name].float(), tensor.bfloat16().float()), name
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert {p.dtype for p in worker.parameters()} == {torch.bfloat16}


def test_gradients_of_parts_are_added_up_in_fp32() -> None:
    model = small_vit()
    masters = MasterWeights(model)
    for value in (256.0, 1.0):  # in bf16 their sum would be 256
        for p in masters.worker.parameters():
            p.grad = torch.full_like(p, value)
        masters.take_gradients()
    assert all(p.grad is None for p in masters.worker.parameters())
    assert all(bool((p.grad == 257).all()) for p in model.parameters() if p.grad is not None)


def test_in_fp32_the_fast_path_changes_not_a_bit() -> None:
    quick, plain = train(fast=True), train(fast=False)
    assert numbers(quick[1]) == numbers(plain[1])


@pytest.mark.parametrize("settings", [{}, {"ema": 0.9, "optimizer": "muon"}, {"accumulate": 2}], ids=str)
def test_a_bf16_training_follows_the_fp32_one(settings: dict[str, Any]) -> None:
    exact = train(fast=False, duration="6ep", lr=0.003, **settings)[1]
    quick = train(precision="bf16", duration="6ep", lr=0.003, **settings)[1]
    for one, other in zip(exact.rows, quick.rows, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=0.03)
        assert one.val_loss == pytest.approx(other.val_loss, abs=0.03)


def test_a_small_update_is_not_lost_in_bf16() -> None:
    """bf16 weights alone would round away steps of a 256th of a weight; masters keep them."""
    model = small_vit()
    before = model.head.weight.detach().clone()
    train_into(model, lr=1e-5)
    moved = (model.head.weight.detach() - before).abs()
    assert 0 < moved.max() < 1e-4


def train_into(model: nn.Module, **settings: Any) -> list[Event]:
    from train_samples import fit, loader, pixels

    heard: list[Event] = []
    spec = spec_of(precision="bf16", duration="1ep", **settings)
    fit(model, loader(spec), spec, prepare=pixels, listeners=[heard.append])
    return heard


def with_head(layer: nn.Module) -> nn.Module:
    model = small_vit()
    model.head = nn.Sequential(layer, model.head)
    return model


def hooked() -> nn.Module:
    model = small_vit()
    model.get_submodule("blocks.1.mlp").register_forward_hook(lambda *_: None)
    return model


@pytest.mark.parametrize(
    ("model", "settings", "masters", "words"),
    [
        (
            small_vit(),
            {"precision": "bf16"},
            True,
            "bf16 weights with fp32 masters, last block for the class token only, explicit attention (5 tokens on cpu)",
        ),
        (small_vit(), {}, False, "fast path: explicit attention (5 tokens on cpu)"),
        (small_vit(patch_dropout=0.5), {}, False, "explicit attention (5 tokens on cpu, 3 in training)"),
        (small_vit(), {"precision": "bf16", "fast": False}, False, "fast path off (train.fast: false)"),
        (build(GoodViTSpec()), {"precision": "bf16"}, True, "fast path: bf16 weights with fp32 masters"),
        (nn.Linear(2, 2), {"precision": "bf16"}, False, "autocast to bf16 (Linear is not one of vitscope's models)"),
        (
            with_head(nn.BatchNorm1d(16, affine=False)),
            {"precision": "bf16"},
            False,
            "holds parts that are not vitscope's",
        ),
        (hooked(), {"precision": "bf16"}, False, "holds parts that are not vitscope's, or hooks"),
        (small_vit().double(), {"precision": "bf16"}, False, "autocast to bf16 (the weights are not fp32)"),
    ],
    ids=["plain", "fp32", "patch dropout", "off", "specimen", "foreign", "statistics", "hooked", "float64"],
)
def test_the_choice_is_said(model: nn.Module, settings: dict[str, Any], masters: bool, words: str) -> None:
    choice = choose_fast_path(model, spec_of(**settings), CPU)
    assert choice.masters is masters
    assert words in choice.said.en
    assert choice.said.ja.startswith("高速化")


def test_several_processes_train_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    choice = choose_fast_path(small_vit(), spec_of(precision="bf16"), CPU)
    assert not choice.masters
    assert "there are several processes" in choice.said.en


def test_an_attention_path_that_was_set_is_the_one_that_is_said() -> None:
    model = small_vit()
    set_attention_path(model, "fused")
    assert "fused attention" in choose_fast_path(model, spec_of(), CPU).said.en


def test_on_a_device_where_masters_were_not_measured_autocast_is_taken() -> None:
    choice = choose_fast_path(small_vit(), spec_of(precision="bf16"), torch.device("cuda"))
    assert not choice.masters
    assert "autocast to bf16 (not measured on cuda yet), fused attention" in choice.said.en


@pytest.mark.usefixtures("bf16_is_quick")
def test_listeners_hear_the_choice() -> None:
    heard = train_into(small_vit())
    started = next(e for e in heard if isinstance(e, Started))
    assert started.fast.en.startswith("fast path: bf16 weights with fp32 masters")


@pytest.mark.parametrize("on", [True, False])
def test_memory_is_kept_in_a_fast_training_only(monkeypatch: pytest.MonkeyPatch, on: bool) -> None:
    done: list[str] = []
    monkeypatch.setattr(memory, "_kept", False)
    monkeypatch.setattr(memory, "keep_freed_memory", lambda: done.append("kept"))
    monkeypatch.setattr(memory, "give_back_memory", lambda: done.append("given back"))
    train(duration="1st", fast=on)
    assert done == (["kept", "given back"] if on else [])


def test_without_glibc_no_memory_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed_memory() is False
    memory.give_back_memory()
    assert "memory" not in choose_fast_path(small_vit(), spec_of(), CPU).said.en


def test_memory_is_kept_until_the_outermost_block_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(memory, "_kept", False)
    monkeypatch.setattr(memory, "give_back_memory", lambda: done.append("given back"))
    with memory.freed_memory_kept():
        monkeypatch.setattr(memory, "_kept", True)  # as on a machine that can
        with memory.freed_memory_kept():
            pass
        assert not done
    assert done == ["given back"]


@pytest.mark.e2e
@pytest.mark.skipif(not memory.is_glibc(), reason="another C library than glibc")
def test_what_a_step_frees_is_there_for_the_next_until_it_is_given_back() -> None:
    program = """
import re, resource, torch
from pathlib import Path
from vitscope.train.memory import empty_kept_memory, keep_freed_memory

def held():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

assert keep_freed_memory()
for again in range(2):
    for _ in range(16):  # until the free blocks have the sizes that are asked for
        torch.ones(64 << 20)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 << 20)
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - faults
    assert faults < 100, faults
    full = held()
    empty_kept_memory()
    assert held() < full - (200 << 10)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.e2e
@pytest.mark.skipif(not memory.is_glibc(), reason="another C library than glibc")
def test_behind_a_training_freed_memory_goes_back_to_the_system() -> None:
    program = """
import re, torch
from pathlib import Path
from vitscope.train.memory import freed_memory_kept

def held():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

with freed_memory_kept():
    torch.ones(1 << 20)
blocks = [(torch.ones(10 << 20), torch.ones(100)) for _ in range(20)]
full, small = held(), [small for _, small in blocks]
del blocks  # the small ones stay between them
assert held() < full - (700 << 10)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
