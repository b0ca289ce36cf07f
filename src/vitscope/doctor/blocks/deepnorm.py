"""Whether the skips of post-norm blocks are scaled up beside their branches, as DeepNorm does, which needs no warm-up. In go a patient and its
post-norm blocks, out comes the answer.

Source: Wang et al. 2022, DeepNet: Scaling Transformers to 1,000 Layers (arXiv:2203.00555), (2 blocks)^(1/4) in an encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope.doctor.patient import Patient
from vitscope.lens.blocks import Block
from vitscope.lens.flow import descendants
from vitscope.lens.tape import Call

ENOUGH = 0.9
"""Of the factor that DeepNorm takes, from which a skip counts as scaled up by it."""


@torch.no_grad()
def are_scaled_up(patient: Patient, numbers: Sequence[int]) -> bool:
    """Whether each of some blocks brings its tokens to the sum behind the attention about (2 blocks)^(1/4) times as large, beside the branch, or
    larger. The norm behind the sum makes no difference between larger tokens and a smaller branch."""
    blocks = patient.anatomy.blocks
    wanted = ENOUGH * (2 * len(blocks)) ** 0.25
    return bool(numbers) and all(_factor(patient, blocks[number]) > wanted for number in numbers)


def _factor(patient: Patient, block: Block) -> float:
    """How many times as large as its attention's branch a block's tokens come to the sum of the two; 0 where that cannot be tried."""
    start, added = _unscaled(patient, block.enters), block.after_attention
    if start is None or added is None:
        return 0.0
    behind = descendants(patient.tape, block.attention.ends)
    branches = [source.call for source in added.sources if source.call is not None and source.call.number in behind]
    branch = _unscaled(patient, branches[0]) if branches else None
    with suppress(LensError, RuntimeError):
        silenced: dict[Call | None, Tensor] = block.attention.replacing(torch.zeros_like(block.attention.output))
        given, left = _left(patient, start, added, silenced)
        skip = float((left * given.reshape(left.shape)).sum() / given.square().sum())
        if branch is None:
            return skip
        given, left = _left(patient, branch, added, {})
        return skip * float(given.norm() / left.norm().clamp(min=1e-30))
    return 0.0


def _left(patient: Patient, start: Call, end: Call, given: dict[Call | None, Tensor]) -> tuple[Tensor, Tensor]:
    """Normal numbers in the place of what one call gives, and what of them is left in another's."""
    was, generator = start.outputs[0], torch.Generator().manual_seed(0)
    drawn = torch.randn(was.shape, generator=generator, dtype=torch.float64).to(was.dtype)
    at_zero, at_drawn = (patient.tape.play({start: x, **given}, end) for x in (torch.zeros_like(drawn), drawn))
    return drawn, at_drawn - at_zero


def _unscaled(patient: Patient, call: Call | None) -> Call | None:
    """What a product with a single number, or with one that stands at every place of a tensor, was taken of."""
    while call is not None and call.name in ("mul", "mul_", "div", "div_"):
        of_image = [source for source in call.sources if patient.tape.is_of_image(source)]
        others = [source.tensor for source in call.sources if source not in of_image]
        if len(of_image) != 1 or any(bool((tensor != tensor.flatten()[0]).any()) for tensor in others):
            break
        call = of_image[0].call
    return call
