"""Dropout with a quick mask on a CPU: the same law as `nn.Dropout`, a third of its time. Tensor in, tensor of the same shape out.

torch draws one 64-bit number for each element on a CPU without a vectorised generator, which was a third of a training step of the
specimens; here one such number serves four elements, 16 bits each. It prints as `nn.Dropout` does and is one for `isinstance`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STEPS = 2**16


class Dropout(nn.Dropout):
    """Zeroes elements with probability p in training and scales the others by 1/(1 - p) (Srivastava et al. 2014, JMLR 15, section 4).

    On a CPU, p is rounded to a multiple of 2⁻¹⁶ (0.1 becomes 0.100006), and the scale with it, so that the mean is kept. Until the
    backward pass the mask is kept, in the input's dtype. Other devices, compiled graphs and `inplace=True` take torch's own.
    """

    def forward(self, input: Tensor) -> Tensor:
        threshold = round(self.p * STEPS)
        ours = input.is_cpu and not self.inplace and 0 < threshold < STEPS and not torch.compiler.is_compiling()
        if not self.training or not ours:
            return super().forward(input)
        keep = _sixteen_bits(input) >= threshold - STEPS // 2
        mask, scale = keep.to(input.dtype), STEPS / (STEPS - threshold)
        if input.dtype.itemsize < 4:  # a mask of bf16 would hold 1.1094 instead of 1.1111, and every mean with it
            return (input * mask).mul_(scale)
        return input * mask.mul_(scale)


def _sixteen_bits(like: Tensor) -> Tensor:
    """A signed 16-bit number for each element, uniform over all of them, from torch's global generator."""
    words = torch.empty((like.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    return words.view(torch.int16)[: like.numel()].view(like.shape)
