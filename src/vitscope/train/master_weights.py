"""bf16 weights for the work, fp32 masters for the memory: forward and backward in bf16 throughout, updates in fp32.

In goes a model, which stays fp32 and is what the optimizer moves, the checkpoint keeps and the running mean follows; out comes a
private bf16 copy that does the products. Autocast casts every weight and many activations at every step; this casts each weight
once (Micikevicius et al. 2018, "Mixed Precision Training", arXiv 1710.03740, section 3.1).
"""

from __future__ import annotations

import os

import torch
from torch import Tensor, nn

from vitscope.model.last_block import is_as_built, quick_copy


class OwnWeights:
    """A model that does its own products: the plain way, with nothing to hand over."""

    def __init__(self, model: nn.Module) -> None:
        self.worker = model

    def cast(self, images: Tensor) -> Tensor:
        """Images in the dtype of the weights that meet them."""
        return images

    def take_gradients(self) -> None:
        """The gradients are where the optimizer looks for them."""

    def hand_out(self, weights: nn.Module) -> nn.Module:
        """The module that gives the scores of these weights."""
        return weights


class MasterWeights(OwnWeights):
    """A model (the masters, fp32) and its bf16 copy (the worker)."""

    def __init__(self, masters: nn.Module) -> None:
        super().__init__(quick_copy(masters, torch.bfloat16))
        self._pairs = list(zip(masters.parameters(), self.worker.parameters(), strict=True))

    def cast(self, images: Tensor) -> Tensor:
        return images.to(torch.bfloat16)

    @torch.no_grad()
    def take_gradients(self) -> None:
        """Adds the worker's gradients to the masters', in fp32, and forgets them."""
        for master, worker in self._pairs:
            if worker.grad is None:
                continue
            if master.grad is None:
                master.grad = worker.grad.float()
            else:
                master.grad += worker.grad
            worker.grad = None

    @torch.no_grad()
    def hand_out(self, weights: nn.Module) -> nn.Module:
        """Gives the worker other weights, the masters' or those of a running mean of them, and returns it."""
        torch._foreach_copy_(list(_tensors(self.worker)), list(_tensors(weights)))
        return self.worker


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def why_not_masters(model: nn.Module) -> str | None:
    """Why a model is trained under autocast instead, or None where a bf16 copy is known to do its work.

    Known are vitscope's own models as they were built. Somebody else's parts may hold numbers in fp32 that no cast reaches, or keep
    running statistics, which the copy would keep to itself; several processes would have to make the masters equal, not the copies.
    """
    if not type(model).__module__.startswith("vitscope.model."):
        return f"{type(model).__name__} is not one of vitscope's models"
    if not is_as_built(model):
        return "the model holds parts that are not vitscope's, or hooks"
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        return "there are several processes"
    if any(p.dtype != torch.float32 for p in model.parameters()):
        return "the weights are not fp32"
    return None
