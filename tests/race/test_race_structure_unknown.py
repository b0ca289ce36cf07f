"""What could not be followed is said to be so: nothing of it is called none, the same, or little."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from vitscope.race.comparing import Entrant, compare

Rows = dict[str, tuple[str, str, str]]


class ViT(nn.Module):
    """Two blocks with a class token; one or both branches may lack their skip."""

    def __init__(self, *, skips: Sequence[bool] = (True, True), has_final_norm: bool = True) -> None:
        super().__init__()
        self.patches, self.start = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 1, 32) * 0.02)
        self.place, self.skips = nn.Parameter(torch.randn(1, 5, 32) * 0.02), skips
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    nn.LayerNorm(32),
                    nn.MultiheadAttention(32, 2, batch_first=True),
                    nn.LayerNorm(32),
                    nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32)),
                ]
            )
            for _ in range(2)
        )
        self.norm, self.head = nn.LayerNorm(32) if has_final_norm else nn.Identity(), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], dim=1) + self.place
        for one, attention, two, mlp in self.blocks:
            y = one(x)
            y = attention(y, y, y, need_weights=False)[0]
            x = x + y if self.skips[0] else y
            y = mlp(two(x))
            x = x + y if self.skips[1] else y
        return self.head(self.norm(x)[:, 0])


def differing(one: Callable[[], nn.Module], other: Callable[[], nn.Module]) -> Rows:
    found = compare(Entrant("one", one), Entrant("other", other), image_size=8, checks=["output"])
    assert all(row.matters.ja for row in found.rows if row.differs)
    return {row.role.en: (row.one.en, row.other.en, row.matters.en) for row in found.rows if row.differs}


def test_a_missing_skip_is_told_and_what_hangs_on_it_is_not_known() -> None:
    said = differing(ViT, lambda: ViT(skips=(False, False)))
    assert said.keys() == {"MLP", "norms of the blocks", "residual connections", "read out"}
    for name in ("MLP", "norms of the blocks", "read out"):
        assert said[name][1:] == (
            "could not be followed",
            "Not known: this part of one of the two could not be followed.",
        )
    assert (
        said["residual connections"][1]
        == "none round the attention in 2 of 2 blocks, none round the MLP in 2 of 2 blocks"
    )


def test_only_the_skip_that_is_missing_is_told() -> None:
    skips = differing(ViT, lambda: ViT(skips=(False, True)))["residual connections"]
    assert skips[1] == "none round the attention in 2 of 2 blocks"


def test_the_norm_before_the_head_is_looked_for_before_the_head() -> None:
    """Without sums all norms of the model lie behind the last known one; those of the blocks are none of the head's."""
    said = differing(lambda: ViT(skips=(False, False)), lambda: ViT(skips=(False, False), has_final_norm=False))
    assert said["norm before the head"][:2] == ("yes", "none")


def test_what_is_followed_in_neither_is_not_called_the_same() -> None:
    said = differing(lambda: ViT(skips=(False, False)), lambda: ViT(skips=(False, False)))
    assert said.keys() == {"followed in neither"}
    parts, again, matters = said["followed in neither"]
    assert parts == again == "MLP, norms of the blocks, read out"
    assert matters.startswith("Not known")


def test_a_model_that_does_not_run_in_training_mode_has_rows_all_the_same() -> None:
    class InferenceOnly(ViT):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            return super().forward(x)

    assert differing(ViT, InferenceOnly) == {}
