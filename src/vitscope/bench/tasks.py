"""What a cell does, once: in go a library, a spec and a setting, out comes a function that takes one step on a fixed batch.

A training step is forward, cross-entropy, backward, gradients forgotten and AdamW; an inference step is a forward. vitscope does what
`vitscope train` does with its default settings, in inference what it does to measure its validation images.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitscope.bench.peers import build_peer
from vitscope.bench.plan import OURS, Cell
from vitscope.model.attention import attention_of
from vitscope.model.create import build
from vitscope.model.last_block import quick_copy
from vitscope.model.pieces import in_pieces
from vitscope.model.spec import ViTSpec
from vitscope.train.fast import choose_fast_path
from vitscope.train.groups import parameter_groups
from vitscope.train.master_weights import MasterWeights, OwnWeights
from vitscope.train.memory import keep_freed_memory
from vitscope.train.optimizer import build_optimizer
from vitscope.train.spec import TrainSpec

Step = Callable[[], Tensor]
"""Takes one step and gives its loss (training) or its scores (inference)."""
_CPU = torch.device("cpu")
LR, WEIGHT_DECAY = 1e-3, 0.05


def make_step(cell: Cell, spec: ViTSpec, setting: str) -> tuple[Step, str]:
    """The step of a cell under one of `settings_of`, and the setting in words. The process is changed where vitscope changes its own.

    Start values and the batch follow from a fixed seed.

    Raises:
        ImportError: the library is not there.
    """
    torch.manual_seed(0)
    images = torch.randn(cell.batch, spec.channels, *spec.image_size)
    labels = torch.randint(spec.classes, (cell.batch,))
    if cell.library == OURS:
        return _ours(cell, spec, images, labels)
    attention, numbers = setting.split(" ")
    model = build_peer(cell.library, spec, attention)
    words = "" if attention == "default" else f"{attention} attention, "
    step = _theirs(cell, model, images, labels) if cell.mode == "train" else _infer(cell, model, images, numbers)
    return step, words + {"autocast": "bf16 autocast", "weights": "bf16 weights"}.get(numbers, numbers)


def _autocast(cell: Cell) -> AbstractContextManager[object]:
    return torch.autocast("cpu", dtype=torch.bfloat16) if cell.precision == "bf16" else nullcontext()


def _train(
    weights: OwnWeights,
    optimizer: torch.optim.Optimizer,
    context: AbstractContextManager[object],
    images: Tensor,
    labels: Tensor,
    masters: nn.Module,
) -> Step:
    """`train/session.py` without its accelerator: `masters` are what the optimizer moves, `weights.worker` does the products."""

    def step() -> Tensor:
        optimizer.zero_grad()
        with context:
            scores = weights.worker(weights.cast(images))
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        weights.take_gradients()
        optimizer.step()
        weights.hand_out(masters)
        return loss

    return step


def _theirs(cell: Cell, model: nn.Module, images: Tensor, labels: Tensor) -> Step:
    """As people train a peer: fp32, or bf16 autocast around the forward; fused AdamW."""
    model.train()
    if cell.compiled:
        model.compile()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY, fused=True)
    return _train(OwnWeights(model), optimizer, _autocast(cell), images, labels, model)


def _infer(cell: Cell, model: nn.Module, images: Tensor, numbers: str) -> Step:
    is_ours = cell.library == OURS
    model.eval()
    if numbers == "weights":
        model.to(torch.bfloat16)
        images = images.to(torch.bfloat16)
    if cell.compiled:
        model.compile()
    context = _autocast(cell) if numbers == "autocast" else nullcontext()

    @torch.inference_mode()
    def step() -> Tensor:
        with context:
            return in_pieces(model, images) if is_ours and not cell.compiled else model(images)

    return step


def _ours(cell: Cell, spec: ViTSpec, images: Tensor, labels: Tensor) -> tuple[Step, str]:
    model = build(spec)
    taken = attention_of(model, "cpu", bf16=cell.precision == "bf16")
    attention = f"{taken[0]} attention, " if taken else ""
    kept = ", freed memory kept" if keep_freed_memory() else ""
    if cell.mode == "inference":
        numbers, dtype = ("weights", torch.bfloat16) if cell.precision == "bf16" else ("fp32", torch.float32)
        words = "bf16 weights" if numbers == "weights" else "fp32"
        return _infer(cell, quick_copy(model, dtype), images, numbers), attention + words + kept
    settings = TrainSpec(
        precision=cell.precision, device="cpu", lr=LR, weight_decay=WEIGHT_DECAY, compile=cell.compiled
    )
    masters = choose_fast_path(model, settings, _CPU).masters
    model.train()
    optimizer = build_optimizer(parameter_groups(model), settings)
    weights = MasterWeights(model) if masters else OwnWeights(model)
    if cell.compiled:
        weights.worker.compile()
    context = nullcontext() if masters else _autocast(cell)
    words = "bf16 weights with fp32 masters" if masters else "bf16 autocast" if cell.precision == "bf16" else "fp32"
    return _train(weights, optimizer, context, images, labels, model), attention + words + kept
