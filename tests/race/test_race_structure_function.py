"""Models with the same parts that are other functions, or learn otherwise: each such difference has a row, and none has one that is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitscope.race.comparing import Entrant, compare

Rows = dict[str, tuple[str, str, str]]


class Attention(nn.Module):
    """Two heads of 16, with everything about them exchangeable."""

    def __init__(
        self, *, scale: float = 0.25, axis: int = -1, is_causal: bool = False, drop: float = 0.0, always: bool = False
    ) -> None:
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(32, 32) for _ in range(4))
        self.scale, self.axis, self.is_causal, self.drop, self.always = scale, axis, is_causal, drop, always

    def heads(self, x: Tensor) -> Tensor:
        return x.view(len(x), 5, 2, 16).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.heads(each(x)) for each in (self.q, self.k, self.v))
        scores = q @ k.transpose(-2, -1) * self.scale
        if self.is_causal:
            scores = scores.masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), float("-inf"))
        shares = F.dropout(scores.softmax(self.axis), self.drop, self.training or self.always)
        return self.out((shares @ v).transpose(1, 2).reshape(x.shape))


class Torn(Attention):
    """Heads that are cut out across tokens."""

    def heads(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), 2, 5, 16)


class ViT(nn.Module):
    """One block, read out at its class token."""

    def __init__(
        self,
        attention: Callable[[], nn.Module] = Attention,
        *,
        end: Callable[[Tensor], Tensor] = lambda x: x,
        frozen: Sequence[str] = (),
        is_detached: bool = False,
    ) -> None:
        super().__init__()
        self.patches, self.start = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 1, 32) * 0.02)
        self.place, self.attention = nn.Parameter(torch.randn(1, 5, 32) * 0.02), attention()
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.head, self.end, self.is_detached = nn.Linear(32, 10), end, is_detached
        for name in frozen:
            self.get_parameter(name).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.start.expand(len(x), -1, -1), x], dim=1) + self.place
        x = x + self.attention(self.norms[0](x))
        x = self.norms[2](x + self.mlp(self.norms[1](x)))[:, 0]
        return self.end(self.head(x.detach() if self.is_detached else x))


class Fused(Attention):
    """The same by torch's fused operation."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self.heads(each(x)) for each in (self.q, self.k, self.v))
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))


def differing(other: Callable[[], nn.Module], checks: Sequence[str] = ("output",)) -> Rows:
    """What a sound one and another differ in; both languages say it."""
    found = compare(Entrant("one", ViT), Entrant("other", other), image_size=8, checks=list(checks))
    assert all(text.ja for row in found.rows if row.differs for text in (row.role, row.one, row.other, row.matters))
    return {row.role.en: (row.one.en, row.other.en, row.matters.en) for row in found.rows if row.differs}


@pytest.mark.parametrize(
    ("attention", "row", "said"),
    [
        (lambda: Attention(scale=1.0), "scale of the scores", ("1/√(width of a head)", "none")),
        (lambda: Attention(scale=0.0625), "scale of the scores", ("1/√(width of a head)", "× 0.0625")),
        (lambda: Attention(axis=-2), "softmax of the scores", ("over the keys", "over the queries")),
        (lambda: Attention(axis=1), "softmax of the scores", ("over the keys", "over the heads")),
        (lambda: Attention(is_causal=True), "mask of attention", ("none", "causal: no token sees a later one")),
        (lambda: Attention(drop=0.3), "dropout", ("none", "0.3 in 1 place")),
        (lambda: Attention(drop=0.3, always=True), "dropout", ("none", "0.3 in 1 place, in evaluation too")),
    ],
)
def test_attention_of_another_kind_is_another_row(
    attention: Callable[[], nn.Module], row: str, said: tuple[str, str]
) -> None:
    rows = differing(lambda: ViT(attention))
    assert rows.keys() == {row}
    assert rows[row][:2] == said
    assert rows[row][2].startswith("It can")


def test_another_way_of_writing_the_same_attention_is_no_difference() -> None:
    assert differing(lambda: ViT(Fused)) == {}


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (lambda x: x.softmax(-1), "softmax"),
        (torch.sigmoid, "sigmoid"),
        (torch.relu, "relu"),
        (nn.Dropout(0.1), "dropout 0.1"),
    ],
)
def test_what_the_scores_go_through_is_told(end: Callable[[Tensor], Tensor], said: str) -> None:
    rows = differing(lambda: ViT(end=end))
    assert rows["behind the last product"][:2] == ("nothing", f"{said} (doctor: {_OF[said]})")
    assert rows["behind the last product"][2].startswith("It can, and much")


_OF = {
    "softmax": "softmax-in-the-model",
    "sigmoid": "sigmoid-in-the-model",
    "relu": "rectified-scores",
    "dropout 0.1": "dropout-behind-the-head",
}


def test_a_log_softmax_changes_nothing_and_is_not_made_much_of() -> None:
    rows = differing(lambda: ViT(end=lambda x: x.log_softmax(-1)))
    assert rows["behind the last product"][:2] == ("nothing", "log_softmax")
    assert rows["behind the last product"][2].startswith("No: ")


def test_what_does_not_learn_is_told() -> None:
    every = [name for name, _ in ViT().named_parameters() if not name.startswith("head")]
    rows = differing(lambda: ViT(frozen=every))
    assert rows.keys() == {"parameters that learn"}
    assert rows["parameters that learn"][:2] == ("all", "330 of 10,698 (10,368 frozen)")
    assert rows["parameters that learn"][2].startswith("It can, and much")
    cut = differing(lambda: ViT(is_detached=True))["parameters that learn"]
    assert cut[1] == "330 of 10,698 (10,368 without a gradient)"


def test_a_fixed_table_is_not_made_much_of() -> None:
    rows = differing(lambda: ViT(frozen=["place"]))
    assert rows["parameters that learn"][1] == "10,538 of 10,698 (160 frozen)"
    assert rows["parameters that learn"][2].startswith("It can: few numbers")


def test_two_that_are_frozen_alike_do_not_differ() -> None:
    frozen = Entrant("one", lambda: ViT(frozen=["place"])), Entrant("other", lambda: ViT(frozen=["place"]))
    assert not [row for row in compare(*frozen, image_size=8, checks=["output"]).rows if row.differs]


def test_a_part_in_which_the_doctor_found_something_says_so() -> None:
    """Heads are as many and as wide as they should be; what they hold is not."""
    found = compare(Entrant("one", ViT), Entrant("other", lambda: ViT(Torn)), image_size=8, checks=["token-mixing"])
    row = next(each for each in found.rows if each.role.en == "heads × width")
    assert row.one.en == "2 × 16"
    assert row.other.en.startswith("2 × 16 (doctor: heads-split-across-tokens")
    assert "(heads-split-across-tokens" in row.matters.en
    assert "（heads-split-across-tokens" in row.matters.ja
    assert ", " not in row.other.ja + row.matters.ja
