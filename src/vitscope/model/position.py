"""Where a patch is: learned, sine-cosine and rotary position embeddings, and how a learned one follows another image size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.spec import ViTSpec

ROTARY_BASE = (
    100.0  # the lowest frequency turns once in some 600 patches: Heo et al. 2024, arXiv 2403.13298, section 4.1
)
SINCOS_BASE = 10_000.0  # arXiv 1706.03762, section 3.5


class LearnedPosition(nn.Module):
    """Adds a learned table, a row a token, the class token included: B T D -> B T D (ViT, section 3.1)."""

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(1, int(spec.class_token) + spec.patches, spec.dim))

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x + self.table


class SinCosPosition(nn.Module):
    """Adds the fixed 2-D sine-cosine table; the class token gets zeros: B T D -> B T D."""

    table: Tensor

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        table = sincos_2d(*spec.grid, dim=spec.dim)
        prefix = torch.zeros(int(spec.class_token), spec.dim)
        self.register_buffer("table", torch.cat([prefix, table])[None], persistent=False)

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x + self.table.to(x.dtype)


class Rotary(nn.Module):
    """Turns queries or keys of the patch tokens by angles that grow with their row and column; prefix tokens stay as they are.

    The first half of a head's channel pairs turns with the row, the second half with the column, so the product of a query and a key
    depends on how far apart they are, not on where (arXiv 2104.09864, section 3.2.2; axial form: arXiv 2403.13298, section 3.2).
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        quarter = spec.head_dim // 4
        frequency = ROTARY_BASE ** (-torch.arange(quarter) / quarter)
        row, column = _coordinates(*spec.grid)
        angle = torch.cat([row[:, None] * frequency, column[:, None] * frequency], dim=1)  # N E/2
        angle = torch.cat([torch.zeros(spec.tokens - spec.patches, angle.shape[1]), angle])  # T E/2
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)

    def forward(self, x: Float[Tensor, "B K T E"]) -> Float[Tensor, "B K T E"]:
        a, b = rearrange(x, "B K T (E two) -> two B K T E", two=2)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        return rearrange([a * cos - b * sin, a * sin + b * cos], "two B K T E -> B K T (E two)")


def sincos_2d(rows: int, columns: int, *, dim: int) -> Float[Tensor, "N D"]:
    """Sines and cosines of row and column at D/4 frequencies each (arXiv 2104.02057, section 4.2.1)."""
    quarter = dim // 4
    frequency = SINCOS_BASE ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    row, column = (c.double()[:, None] * frequency for c in _coordinates(rows, columns))
    return torch.cat([column.sin(), column.cos(), row.sin(), row.cos()], dim=1).float()


def resize_table(
    table: Float[Tensor, "1 T D"], old: tuple[int, int], new: tuple[int, int]
) -> Float[Tensor, "1 Tnew D"]:
    """A learned table for another grid of patches, by bicubic interpolation with antialiasing (ViT, section 3.2; the class token's
    row is kept).

    Args:
        table: the position embedding, prefix rows first.
        old: patches down and across that it was learned for.
        new: patches down and across that it is wanted for.
    """
    prefix = table.shape[1] - old[0] * old[1]
    grid = rearrange(table[:, prefix:], "1 (Gh Gw) D -> 1 D Gh Gw", Gh=old[0])
    grid = nn.functional.interpolate(
        grid.to(torch.promote_types(grid.dtype, torch.float32)),
        size=new,
        mode="bicubic",
        antialias=True,
        align_corners=False,
    ).to(table.dtype)
    return torch.cat([table[:, :prefix], rearrange(grid, "1 D Gh Gw -> 1 (Gh Gw) D")], dim=1)


POSITION: dict[str, Callable[[ViTSpec], nn.Module]] = {
    "learned": LearnedPosition,
    "sincos": SinCosPosition,
    "none": lambda spec: nn.Identity(),
    "rotary": lambda spec: nn.Identity(),  # it acts on queries and keys, inside each attention
}


def _coordinates(rows: int, columns: int) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    row, column = torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")
    return row.flatten(), column.flatten()
