"""Where a patch is: learned, sine-cosine and rotary position embeddings, and how a learned one follows another image size."""

from __future__ import annotations

from collections.abc import Callable

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.spec import ViTSpec

ROTARY_BASE = 100.0  # Heo et al. 2024, arXiv 2403.13298, section 3.2 (`rope_theta` in naver-ai/rope-vit): √10,000, as a grid has √N places a side
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
        self.register_buffer("table", self._table(spec), persistent=False)

    def lay_out(self, spec: ViTSpec) -> None:
        """Takes the grid of another spec."""
        self.table = self._table(spec).to(self.table)

    @staticmethod
    def _table(spec: ViTSpec) -> Float[Tensor, "1 T D"]:
        prefix = torch.zeros(int(spec.class_token), spec.dim)
        return torch.cat([prefix, sincos_2d(*spec.grid, dim=spec.dim)])[None]

    def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
        return x + self.table.to(x.dtype)


class Rotary(nn.Module):
    """Turns queries or keys of the patch tokens by angles that grow with their row and column; prefix tokens stay as they are.

    The first half of a head's channel pairs turns with the row, the second half with the column, so the product of a query and a key
    depends on how far apart they are, not on where (arXiv 2104.09864, section 3.2.2; axial form: arXiv 2403.13298, section 3.2).
    Sines and cosines stay fp32 when the model is cast, and the turn is computed in fp32 at least: bf16 has three digits.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.spec = spec
        for name, table in self._tables(spec).items():
            self.register_buffer(name, table, persistent=False)

    def lay_out(self, spec: ViTSpec) -> None:
        """Takes the grid of another spec."""
        self.spec = spec
        self.cos, self.sin = (table.to(self.cos.device) for table in self._tables(spec).values())

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Rotary:
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]  # a move to a device, or a cast, which is taken back
        self.lay_out(self.spec)
        return self

    @staticmethod
    def _tables(spec: ViTSpec) -> dict[str, Tensor]:
        quarter = spec.head_dim // 4
        frequency = ROTARY_BASE ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
        row, column = (c.double()[:, None] * frequency for c in _coordinates(*spec.grid))
        angle = torch.cat([row, column], dim=1)  # N E/2
        angle = torch.cat([angle.new_zeros(spec.tokens - spec.patches, angle.shape[1]), angle])  # T E/2
        return {"cos": angle.cos().float(), "sin": angle.sin().float()}

    def forward(self, x: Float[Tensor, "B K T E"]) -> Float[Tensor, "B K T E"]:
        a, b = rearrange(x, "B K T (E two) -> two B K T E", two=2)
        turned = [a * self.cos - b * self.sin, a * self.sin + b * self.cos]  # promoted to fp32
        return rearrange(turned, "two B K T E -> B K T (E two)").to(x.dtype)


def sincos_2d(rows: int, columns: int, *, dim: int) -> Float[Tensor, "N D"]:
    """Sines and cosines of row and column at D/4 frequencies each (arXiv 2104.02057, section 5; `vits.py` of its code)."""
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
