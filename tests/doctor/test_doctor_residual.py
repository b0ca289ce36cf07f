"""The check `residual`: it fires for the sick models of its modes, and leaves alone what only looks like them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import healthy_blocks as blocks
import pytest
import sick_blocks
import sick_gradient
import sick_norms
import torch
import torch.nn.functional as F
from examined_sick import by_the_check_concerned
from healthy_hosts import DIM, PATCH, Block, Host, MeanHost
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding

SICK = {case.name: case for case in (*sick_blocks.CASES, *sick_norms.CASES)}
FOUND = {"M18": {"skip-missing", "skip-behind-the-norm"}, "M19": {"post-norm"}, "M20": {"final-norm-missing"}}
FOUND["M16-dead"] = {"block-result-unused", "block-does-nothing"}


def examined(build: object, **words: object) -> Examination:
    torch.manual_seed(0)
    return diagnose(build(), image_size=32, checks=["residual"], **words)  # type: ignore[operator, arg-type]


def ids(found: Examination) -> list[tuple[str, str]]:
    return [(each.severity, each.id) for each in found.findings]


def only(found: Examination) -> Finding:
    (finding,) = found.findings
    assert finding.summary["ja"] != finding.summary["en"]
    return finding


@pytest.mark.parametrize("name", SICK)
def test_each_sick_model_is_found(name: str) -> None:
    finding = only(by_the_check_concerned(SICK[name]))
    assert finding.id in FOUND[SICK[name].mode]
    assert finding.severity == SICK[name].severity


def test_it_says_which_branch_has_no_skip() -> None:
    assert only(by_the_check_concerned(SICK["no-skip"])).evidence["attentions_without_skip"] == [0, 1, 2]
    half = only(by_the_check_concerned(SICK["half-skip"])).evidence
    assert "attentions_without_skip" not in half
    assert half["mlps_without_skip"] == [0, 1]
    assert only(examined(sick_gradient.SmallInitViT)).id == "skip-missing"


def test_it_names_the_norm_that_the_skip_starts_behind() -> None:
    assert only(by_the_check_concerned(SICK["normed-stream"])).evidence["norms"] == [
        f"layers.{i}.ln1" for i in range(3)
    ]


def test_it_names_the_blocks_whose_result_is_thrown_away() -> None:
    assert only(by_the_check_concerned(SICK["typo-loop"])).evidence["thrown_away"] == ["blocks.0", "blocks.1"]
    assert only(by_the_check_concerned(SICK["wrong-name"])).evidence["thrown_away"] == ["stage2"]
    assert only(by_the_check_concerned(SICK["survival-nought"])).evidence["dead_blocks"] == [3]


@pytest.mark.parametrize(
    "block",
    [
        Block,
        blocks.Sandwich,
        blocks.ResPostNorm,
        blocks.Parallel,
        blocks.Scaled,
        blocks.with_mlp(blocks.SwiGLU),
        blocks.BatchNorms,
    ],
)
def test_sound_blocks_are_left_alone(block: type[nn.Module]) -> None:
    found = examined(partial(Host, block))
    assert ids(found) == []
    assert "residual" in found.checks_run


@pytest.mark.parametrize("block", [partial(blocks.Scaled, 0.0), blocks.ZeroBranches, blocks.ReZero])
def test_branches_from_zero_are_a_note(block: type[nn.Module]) -> None:
    assert ids(examined(partial(Host, block))) == [("note", "zero-initialised-block")]


@pytest.mark.parametrize(("depth", "severity"), [(2, "note"), (5, "note"), (6, "warning")])
def test_post_norm_is_a_warning_from_six_blocks_on(depth: int, severity: str) -> None:
    finding = only(examined(partial(blocks.PostNormHost, blocks.PostNorm, depth=depth)))
    assert (finding.id, finding.severity) == ("post-norm", severity)


class HandNorm(nn.Module):
    """A norm of which torch's dispatcher knows nothing."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * x.square().mean(-1, keepdim=True).add(1e-6).rsqrt() * self.gain


class HandNormedStream(Block):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = HandNorm(DIM), HandNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        x = x + self.attn(x)
        x = self.norm2(x)
        return x + self.mlp(x)


class HandPreNorm(HandNormedStream):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class HandNormedHost(Host):
    def prepare(self, dim: int) -> None:
        self.norm = HandNorm(dim)


def test_norms_are_known_by_what_they_do() -> None:
    assert only(examined(partial(HandNormedHost, HandNormedStream, depth=3))).id == "skip-behind-the-norm"
    assert ids(examined(partial(HandNormedHost, HandPreNorm))) == []
    assert only(examined(partial(blocks.PostNormHost, HandPreNorm))).id == "final-norm-missing"


class FinalNormForgotten(Host):
    def encode(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


def test_a_last_norm_that_is_held_and_never_called_is_named() -> None:
    found = only(examined(FinalNormForgotten))
    assert (found.id, found.severity, found.evidence["never_called"]) == ("final-norm-missing", "warning", ["norm"])


class TinyTokens(Host):
    """Class token and patches so small that the epsilon of a norm outweighs them."""

    def embed(self, x: Tensor) -> Tensor:
        return super().embed(x) * 1e-6


def test_tiny_tokens_hide_no_norm() -> None:
    assert ids(examined(partial(TinyTokens, partial(blocks.Scaled, 1e-5)))) == []


class NormedBeforeMLP(Block):
    """Compact Transformers."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm2(x + self.attn(self.norm1(x)))
        return x + self.mlp(x)


def test_compact_transformers_are_a_note() -> None:
    assert ids(examined(partial(Host, NormedBeforeMLP, depth=3))) == [("note", "skip-behind-the-norm")]


class LeftWeights(Host):
    """The patch embedding's weights, scaled by a constant, stand on the left (equalised learning rate)."""

    def prepare(self, dim: int) -> None:
        self.w = nn.Parameter(torch.randn(dim, 48) * 0.07)

    def embed(self, x: Tensor) -> Tensor:
        patches = ((self.w * 2.0) @ torch.nn.functional.unfold(x, 4, stride=4)).mT
        return torch.cat([self.cls_token.expand(len(x), -1, -1), patches], dim=1) + self.pos_embed


class NoSkipRoundTheMLP(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return self.mlp(self.norm2(x))


def test_the_last_block_counts_too() -> None:
    finding = only(examined(partial(Host, NoSkipRoundTheMLP, depth=3)))
    assert "round the MLP in 3 of 3 blocks:" in finding.summary.en
    assert finding.evidence["mlps_without_skip"] == [0, 1, 2]


class NoSkips(Block):
    def forward(self, x: Tensor) -> Tensor:
        return self.mlp(self.norm2(self.attn(self.norm1(x))))


class NoSkipsInLists(MeanHost):
    def forward(self, img: Tensor) -> Tensor:
        x = self.to_patch_embedding(F.unfold(img, PATCH, stride=PATCH).mT) + self.place(self.ids)
        for (before, attend, between, up), down in zip(self.layers, self.down, strict=True):
            x = down(F.gelu(up(between(attend(before(x))))))
        return self.classifier(x.mean(dim=1))


class NoSkipRoundTheAttention(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


def two_layer_head(host: type[nn.Module], block: type[Block]) -> nn.Module:
    model = host(block, depth=3)
    model.head = nn.Sequential(nn.Linear(DIM, DIM), nn.Tanh(), nn.Linear(DIM, 10))
    return model


@pytest.mark.parametrize(
    "build", [partial(Host, NoSkips, depth=3), partial(two_layer_head, Host, NoSkips), partial(NoSkipsInLists, depth=3)]
)
def test_both_branches_without_a_skip_are_named(build: object) -> None:
    finding = only(examined(build))
    assert "round the attention and the MLP in 3 of 3 blocks:" in finding.summary.en
    assert finding.evidence["attentions_without_skip"] == finding.evidence["mlps_without_skip"] == [0, 1, 2]


@pytest.mark.parametrize("head", [partial(Host, depth=3), partial(two_layer_head, Host)])
def test_an_mlp_with_a_skip_is_not_named_beside_the_attention(head: Callable[..., nn.Module]) -> None:
    finding = only(examined(partial(head, NoSkipRoundTheAttention)))
    assert "round the attention in 3 of 3 blocks:" in finding.summary.en


class MixLN(Host):
    """Early blocks post-norm, later ones pre-norm, of the same parameters (Li et al. 2025)."""

    def prepare(self, dim: int) -> None:
        self.blocks = nn.ModuleList((blocks.PostNorm if n < 2 else Block)() for n in range(6))


def test_post_norm_in_the_first_blocks_is_a_note() -> None:
    finding = only(examined(MixLN))
    assert (finding.id, finding.severity, finding.evidence["post_norm_blocks"]) == ("post-norm", "note", [0, 1])


def test_weights_on_the_left_break_nothing() -> None:
    torch.manual_seed(0)
    found = diagnose(LeftWeights(), image_size=32, checks=["forward", "residual", "patch-layout", "position"])
    assert found.healthy
    assert not found.findings


class Streams(Host):
    """Two streams of tokens, weighed in front of the first block (hyper-connections, Zhu et al. 2025)."""

    def prepare(self, dim: int) -> None:
        self.weigh = nn.Parameter(torch.tensor([0.6, 0.4]))

    def embed(self, x: Tensor) -> Tensor:
        tokens = super().embed(x)
        return torch.einsum("s,sbnd->bnd", self.weigh, torch.stack([tokens, tokens]))


def test_streams_that_are_weighed_break_nothing() -> None:
    torch.manual_seed(0)
    found = diagnose(Streams(), image_size=32, checks=["patch-layout", "residual", "token-mixing"])
    assert not found.findings


def test_products_that_are_no_attentions_are_not_taken_for_blocks() -> None:
    class Weighed(Host):
        """What stands between the blocks mixes two computed tensors, as dynamic hyper-connections do."""

        def embed(self, x: Tensor) -> Tensor:
            tokens = super().embed(x)
            streams = torch.stack([tokens, tokens], dim=2)
            return (torch.tanh(streams.mean(dim=-1, keepdim=True)).mT @ streams).squeeze(2)

    from healthy_attentions import Sigmoid

    found = examined(partial(Weighed, partial(Block, Sigmoid)))
    assert ids(found) == []
    assert [each.check for each in found.skipped] == ["residual"]
