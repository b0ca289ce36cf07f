"""What the check of positions says of the mechanism, and patches that are strips: nothing is told that is not so."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from healthy_hosts import Host
from sick_unfollowed import Fused
from sound_hosts import LinearHost
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose

Place = Callable[[nn.Module, Tensor], Tensor]


class Placed(LinearHost):
    """Adds to its tokens what it is given."""

    def __init__(self, place: Place, shape: tuple[int, ...] = (1, 64, 48)) -> None:
        super().__init__(Fused)
        del self.position
        self.place, self.table = place, nn.Parameter(torch.randn(shape) * 0.02)

    def forward(self, img: Tensor) -> Tensor:
        x = img.unflatten(3, (8, 4)).unflatten(2, (8, 4)).permute(0, 2, 4, 3, 5, 1).reshape(len(img), 64, 48)
        x = self.place(self, self.to_tokens(x))
        for norm, attn, mlp in self.layers:  # type: ignore[misc]
            x = attn(norm(x)) + x
            x = mlp(x) + x
        return self.to_logits(x.mean(dim=1))


def examined(model: nn.Module, check: str = "position", images: Tensor | None = None) -> Examination:
    return diagnose(model, image_size=32, num_classes=10, checks=[check], images=images)


@pytest.mark.parametrize(
    "model",
    [
        lambda: Placed(lambda m, x: x + m.table, (1, 1, 48)),
        lambda: Placed(lambda m, x: x + m.table[:, :1]),
        lambda: Placed(lambda m, x: x + m.table[0, x.shape[1] - 1]),
        lambda: Placed(lambda m, x: x + m.table[0].mean(0)),
    ],
    ids=["one row", "first row", "last row", "mean row"],
)
def test_one_vector_for_all_tokens_is_named(model: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    (found,) = examined(model()).findings
    assert found.id == "position-blind"
    assert "the same vector is added to all tokens (table)" in found.summary.en
    assert "同じベクトル（table）" in found.summary.ja
    assert found.evidence["same_for_all_tokens"] == "table"


def test_nothing_is_added_where_nothing_is() -> None:
    torch.manual_seed(0)
    model = Placed(lambda m, x: x)
    del model.table
    (found,) = examined(model).findings
    assert "nothing is added for the place" in found.summary.en


class InFloat32(Placed):
    def forward(self, img: Tensor) -> Tensor:
        if img.dtype != torch.float32:
            raise TypeError("float32 only")
        return super().forward(img)


def test_raw_pixels_in_float32_hide_a_position_and_that_is_said() -> None:
    pixels = torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    torch.manual_seed(0)
    found = examined(InFloat32(lambda m, x: x + m.table / 20), images=pixels)
    assert found.findings == ()
    (skip,) = found.skipped
    assert "too little to be told from rounding" in skip.why.en
    torch.manual_seed(0)
    (blind,) = examined(InFloat32(lambda m, x: x + m.table, (1, 1, 48)), images=pixels).findings
    assert "the same vector" in blind.summary.en


class Standardised(Host):
    """Scores of a batch are standardised: those of two images are one and minus one, whatever they show."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)[:, :1]
        spread = (scores - scores.mean(0)).pow(2).mean(0).sqrt() if len(scores) > 1 else 1.0
        scores = (scores - (scores.mean(0) if len(scores) > 1 else 0.0)) / spread
        return torch.cat([scores, -scores], dim=-1)


@pytest.mark.parametrize("seed", range(3))
def test_heads_that_are_standardised_over_the_batch_know_their_places(seed: int) -> None:
    torch.manual_seed(seed)
    found = diagnose(Standardised(), image_size=32, checks=["position"])
    assert "position-blind" not in [each.id for each in found.findings]
    assert "position-starts-at-zero" not in [each.id for each in found.findings]


@pytest.mark.parametrize(("turned", "lines", "ja"), [(False, "rows", "行"), (True, "columns", "列")])
def test_strips_of_whole_rows_are_called_strips(turned: bool, lines: str, ja: str) -> None:
    class Strips(LinearHost):
        def __init__(self) -> None:
            super().__init__(Fused)
            self.to_tokens, self.position = nn.Linear(2 * 96, 48), nn.Embedding(16, 48)

        def forward(self, img: Tensor) -> Tensor:
            x = img.permute(0, 3, 2, 1) if turned else img.permute(0, 2, 3, 1)
            x = self.to_tokens(x.reshape(len(img), 16, 192)) + self.position(torch.arange(16))
            for norm, attn, mlp in self.layers:  # type: ignore[misc]
                x = attn(norm(x)) + x
                x = mlp(x) + x
            return self.to_logits(x.mean(dim=1))

    torch.manual_seed(0)
    (found,) = examined(Strips(), "patch-layout").findings
    assert f"16 strips of whole {lines}" in found.summary.en
    assert f"{ja}全体" in found.summary.ja
    assert "patch_size" not in found.fault.code
    assert "squares" in found.fault.advice.en


class OfItself(Placed):
    """Adds to each token what a layer makes of the patch that it is made of."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__(lambda m, x: x + m.pos_net(x))  # type: ignore[operator]
        del self.table
        self.pos_net = layer


class OfThePixels(Host):
    def prepare(self, dim: int) -> None:
        del self.pos_embed
        self.where = nn.Sequential(nn.Conv2d(3, dim, 4, 4), nn.Tanh())

    def embed(self, x: Tensor) -> Tensor:
        tokens = (self.patch(x) + self.where(x)).flatten(2).mT
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1)


@pytest.mark.parametrize(
    ("build", "name"),
    [(lambda: OfItself(nn.Linear(48, 48)), "pos_net"), (OfThePixels, "where.0")],
    ids=["of the token", "of the pixels"],
)
def test_a_position_that_is_made_of_the_content_is_named(build: Callable[[], nn.Module], name: str) -> None:
    torch.manual_seed(0)
    (found,) = examined(build()).findings
    assert found.id == "position-blind"
    assert f"what {name} adds is made of each patch itself" in found.summary.en
    assert found.evidence["made_of_the_content"] == name


def test_rows_of_a_table_that_the_content_chooses_are_no_position() -> None:
    torch.manual_seed(0)
    (found,) = examined(Placed(lambda m, x: x + m.table[0][x.mean(-1).argsort(-1).argsort(-1)])).findings
    assert found.id == "position-blind"
    assert found.evidence["made_of_the_content"] == "table"


class Drowned(Host):
    """Positions of some size beside patches of another."""

    def __init__(self, patches: float, positions: float) -> None:
        super().__init__()
        nn.init.normal_(self.patch.weight, std=patches)
        nn.init.zeros_(self.patch.bias)  # type: ignore[arg-type]
        nn.init.normal_(self.pos_embed, std=positions)


class FaintPixels(Placed):
    """Patches that are divided away behind their embedding."""

    def __init__(self) -> None:
        super().__init__(lambda m, x: x / 255**2 + m.table)


@pytest.mark.parametrize(
    ("build", "severity", "fix"),
    [
        (lambda: Drowned(0.1, 2.0), "note", "nn.init.trunc_normal_(self.pos_embed, std=0.02)"),
        (lambda: Drowned(0.1, 200.0), "warning", "nn.init.trunc_normal_(self.pos_embed, std=0.02)"),
        (lambda: Drowned(1e-7, 1.0), "warning", "self.patch.reset_parameters()"),
        (FaintPixels, "warning", ""),
    ],
    ids=["somewhat", "far", "faint patches", "faint pixels"],
)
def test_patches_that_are_as_good_as_not_there_are_a_warning(
    build: Callable[[], nn.Module], severity: str, fix: str
) -> None:
    torch.manual_seed(0)
    (found,) = examined(build()).findings
    assert (found.id, found.severity, found.fault.code) == ("position-drowns-the-patches", severity, fix)
    assert ("division" in found.fault.advice.en) is (build is FaintPixels)


def test_large_numbers_have_commas() -> None:
    torch.manual_seed(0)
    (found,) = examined(Drowned(1e-7, 1.0)).findings
    ratio = f"{found.evidence['position_beside_patches']:,.0f}"
    assert ratio.count(",") == 2
    assert f"is {ratio} times as large" in found.summary.en
    assert f"パッチの{ratio}倍" in found.summary.ja


class ScrambledAndDrowned(Host):
    """Patches by a reshape without a permute, beside positions of standard deviation 1."""

    def prepare(self, dim: int) -> None:
        self.patch = nn.Linear(48, dim)  # type: ignore[assignment]
        nn.init.normal_(self.pos_embed)

    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x.unfold(2, 4, 4).unfold(3, 4, 4).reshape(len(x), 64, 48))
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed


def test_what_is_said_of_positions_stands_beneath_patches_that_are_cut_wrong() -> None:
    torch.manual_seed(0)
    found = diagnose(ScrambledAndDrowned(), image_size=32, checks=["patch-layout", "position"]).findings
    assert [(each.id, each.folded_under) for each in found] == [
        ("patches-cut-wrong", None),
        ("position-drowns-the-patches", "patches-cut-wrong"),
    ]
