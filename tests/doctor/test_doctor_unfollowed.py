"""Where the lens follows a model in part only, what needs no map is examined; strips are told from rows that are meant."""

from __future__ import annotations

import pytest
import sick_unfollowed
import torch
from examined_sick import by_the_check_concerned
from healthy_case import Healthy
from sick_case import Case
from sick_unfollowed import Fused, SoundTalkingHeads, Written
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose

NAMED = {
    "own-values": "patches-never-meet",
    "summed-shares": "patches-never-meet",
    "talking-flat-merge": "heads-merged-across-tokens",
    "talking-turned-keys": "rows-of-several-tokens",
    "talking-wrong-cut": "patches-cut-wrong",
    "merged-wrong-cut": "patches-cut-wrong",
    "strips-of-rows": "patches-are-strips",
    "strips-of-columns": "patches-are-strips",
}
BOTH = ["patch-layout", "token-mixing"]


@pytest.mark.parametrize("case", sick_unfollowed.CASES, ids=lambda case: case.name)
def test_it_is_named(case: Case) -> None:
    assert [each.id for each in by_the_check_concerned(case).findings] == [NAMED[case.name]]


class Rows(LinearHost):
    """Each row of the image, or each column, is a token, and meant to be."""

    def __init__(self, order: tuple[int, ...]) -> None:
        super().__init__(Fused)
        self.to_tokens, self.position, self.order = nn.Linear(96, 48), nn.Embedding(32, 48), order

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_tokens(img.permute(self.order).flatten(2)) + self.position(torch.arange(32, device=img.device))
        for norm, attn, mlp in self.layers:  # type: ignore[misc]
            x = attn(norm(x)) + x
            x = mlp(x) + x
        return self.to_logits(x.mean(dim=1))


class ConvStrips(ConvHost):
    """Strips that a convolution cuts."""

    def __init__(self) -> None:
        super().__init__(Fused)
        self.patch_embed = nn.Conv2d(3, 64, kernel_size=(1, 16), stride=(1, 16))


class StartsAtZero(SoundTalkingHeads):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(dim, heads)
        nn.init.zeros_(self.proj.weight)


HEALTHY = [
    Healthy("talking heads", "by hand", lambda: ConvHost(SoundTalkingHeads)),
    Healthy("talking heads, mean", "by hand", lambda: LinearHost(SoundTalkingHeads)),
    Healthy("talking heads that start at zero", "by hand", lambda: LinearHost(StartsAtZero, depth=1)),
    Healthy("written out", "by hand", lambda: LinearHost(Written)),
    Healthy("rows", "by hand", lambda: Rows((0, 2, 1, 3))),
    Healthy("columns", "by hand", lambda: Rows((0, 3, 1, 2))),
    Healthy("strips of a convolution", "by hand", ConvStrips),
]


@pytest.mark.parametrize("case", HEALTHY, ids=lambda case: case.name)
def test_what_is_meant_is_healthy(case: Healthy) -> None:
    torch.manual_seed(0)
    found = diagnose(case.build(), image_size=32, num_classes=10, checks=BOTH).findings
    assert [each.id for each in found if each.id != "too-few-tokens"] == []
