"""What the proofs of the sick ViTs share: the cases, images of which one patch differs, and the tokens of any model.

It is no test and no model, and it borrows nothing from the doctor, whose sensitivity the models are to measure.
"""

from __future__ import annotations

from typing import Any

import pytest
import sick_affine
import sick_attention
import sick_blocks
import sick_gradient
import sick_mixing
import sick_norms
import sick_patches
import sick_position
import sick_scales
import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn

OURS = (
    sick_affine,
    sick_attention,
    sick_blocks,
    sick_gradient,
    sick_mixing,
    sick_norms,
    sick_patches,
    sick_position,
    sick_scales,
)
CASES: dict[str, Case] = {case.name: case for module in OURS for case in module.CASES}
GRID, PATCH = 8, 4
PROBED = list(range(0, 64, 9))
"""Patches that are changed: the diagonal of the grid."""


def of(*modes: str) -> Any:
    return pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.mode in modes])


def but(*modes: str) -> Any:
    return pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.mode not in modes])


def built(name: str) -> nn.Module:
    torch.manual_seed(0)
    return CASES[name].build().double().eval()


def images(name: str, count: int) -> Tensor:
    return torch.randn(count, CASES[name].channels, 32, 32, generator=torch.Generator().manual_seed(1)).double()


def one_patch_each(name: str) -> Tensor:
    """The same image once as it is, and once for each of the probed patches with that patch changed."""
    batch = images(name, 1).repeat(1 + len(PROBED), 1, 1, 1)
    for i, p in enumerate(PROBED, 1):
        row, column = divmod(p, GRID)
        batch[i, :, PATCH * row : PATCH * (row + 1), PATCH * column : PATCH * (column + 1)] += 1.0
    return batch


def shuffled(x: Tensor) -> Tensor:
    order = torch.randperm(GRID**2, generator=torch.Generator().manual_seed(2))
    patches = rearrange(x, "b c (h p) (w q) -> b (h w) c p q", p=PATCH, q=PATCH)[:, order]
    return rearrange(patches, "b (h w) c p q -> b c (h p) (w q)", h=GRID)


def tokens(model: nn.Module, x: Tensor) -> list[Tensor]:
    """All that modules took and gave that looks like tokens, batch first, in the order in which it appeared."""
    seen: list[Tensor] = []

    def keep(candidate: Any) -> None:
        if isinstance(candidate, Tensor) and candidate.dim() == 3:
            if candidate.shape[0] == len(x) and candidate.shape[1] >= GRID**2:
                seen.append(candidate.detach())
            elif candidate.shape[1] == len(x) and candidate.shape[0] >= GRID**2:
                seen.append(candidate.detach().transpose(0, 1))

    hooks = []
    for module in model.modules():
        hooks.append(module.register_forward_pre_hook(lambda _, args: keep(args[0]) if args else None))
        hooks.append(module.register_forward_hook(lambda _, args, out: keep(out)))
    model(x)
    for hook in hooks:
        hook.remove()
    return seen


def changed(state: Tensor) -> Tensor:
    """(token, probed patch): whether changing the patch changed the token."""
    difference = (state[1:] - state[:1]).abs().amax(-1)
    return (difference > 1e-12 * state.abs().max()).T


def gradients(model: nn.Module, x: Tensor) -> dict[str, Tensor | None]:
    F.cross_entropy(model(x), torch.arange(len(x)) % 10).backward()
    return {name: p.grad for name, p in model.named_parameters()}
