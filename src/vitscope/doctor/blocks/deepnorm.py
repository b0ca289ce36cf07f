"""Whether the skips of post-norm blocks are scaled up, as DeepNorm does, which needs no warm-up. In go a patient and its post-norm blocks, out comes
the answer.

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
from vitscope.lens.tape import Call

ENOUGH = 0.9
"""Of the factor that DeepNorm takes, from which a skip counts as scaled up by it."""


@torch.no_grad()
def are_scaled_up(patient: Patient, numbers: Sequence[int]) -> bool:
    """Whether, with its attention silenced, each of some blocks brings its tokens to the sum about (2 blocks)^(1/4) times as large, or larger."""
    blocks = patient.anatomy.blocks
    wanted = ENOUGH * (2 * len(blocks)) ** 0.25
    return bool(numbers) and all(_factor(patient, blocks[number]) > wanted for number in numbers)


def _factor(patient: Patient, block: Block) -> float:
    """How many times as large a block's tokens come to the sum behind its attention; 0 where that cannot be tried."""
    start, tape = _unscaled(patient, block.enters), patient.tape
    if start is None or block.after_attention is None:
        return 0.0
    was, generator = start.outputs[0], torch.Generator().manual_seed(0)
    given = torch.randn(was.shape, generator=generator, dtype=torch.float64).to(was.dtype)
    with suppress(LensError, RuntimeError):
        silenced: dict[Call | None, Tensor] = block.attention.replacing(torch.zeros_like(block.attention.output))
        at_zero, at_given = (
            tape.play({start: each, **silenced}, block.after_attention) for each in (torch.zeros_like(given), given)
        )
        return float(((at_given - at_zero) * given.reshape(at_zero.shape)).sum() / given.square().sum())
    return 0.0


def _unscaled(patient: Patient, call: Call | None) -> Call | None:
    """What a product with a single number was taken of."""
    while call is not None and call.name in ("mul", "mul_", "div", "div_"):
        of_image = [source for source in call.sources if patient.tape.is_of_image(source)]
        if len(of_image) != 1 or any(s.tensor.numel() > 1 for s in call.sources if s is not of_image[0]):
            break
        call = of_image[0].call
    return call
