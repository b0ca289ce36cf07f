"""The check `parameters`: it fires for the sick models of its modes, and leaves alone what only looks like them."""

from __future__ import annotations

from functools import partial
from typing import Any

import healthy_blocks as blocks
import healthy_places
import healthy_traps as traps
import pytest
import sick_one_block
import sick_parameters
import sick_sharing
import sick_start
import torch
from examined_sick import by_the_check_concerned
from healthy_hosts import DIM, Block, Host, N
from sick_case import Case
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose

pytestmark = pytest.mark.e2e  # whole examinations

SICK = {case.name: case for case in (*sick_parameters.CASES, *sick_sharing.CASES) if case.check == "parameters"}
SICK |= {case.name: case for case in sick_start.CASES if case.mode == "I2"}
FOUND = {
    "M15": {"unregistered-parameters"},
    "M16": {"shared-blocks"},
    "M17": {"identical-start"},
    "I2": {"blocked-by-zeros"},
    "M14": {"module-never-called", "unused-parameters"},
}


def examined(build: Any, **words: Any) -> Examination:
    torch.manual_seed(0)
    return diagnose(build(), image_size=32, checks=["parameters"], **words)


def ids(found: Examination) -> list[tuple[str, str]]:
    assert not [each for each in found.skipped if each.check == "parameters"]
    return [(each.severity, each.id) for each in found.findings]


@pytest.mark.parametrize("name", SICK)
def test_each_sick_model_is_found(name: str) -> None:
    (cause,) = by_the_check_concerned(SICK[name]).causes
    assert cause.id in FOUND[SICK[name].mode]
    assert cause.severity == SICK[name].severity


def test_it_names_what_is_never_called() -> None:
    found = by_the_check_concerned(SICK["attention-twice"]).findings[0]
    assert found.evidence["modules"] == ["blocks.0.mlp", "blocks.1.mlp"]
    assert found.evidence["numbers"] == 2 * (32 * 128 + 128 + 128 * 32 + 32)
    assert by_the_check_concerned(SICK["ffns-not-looped"]).findings[0].evidence["modules"] == ["ffns"]
    assert by_the_check_concerned(SICK["old-head"]).findings[0].evidence["parameters"] == ["fc.weight", "fc.bias"]


def test_it_counts_what_is_not_registered() -> None:
    found = by_the_check_concerned(SICK["python-list"]).findings[0]
    block = sick_parameters.ListedBlock(32)
    assert found.evidence["numbers"] == 4 * sum(p.numel() for p in block.parameters())
    assert "blocks[0]" in found.summary["en"]
    assert by_the_check_concerned(SICK["plain-tensor"]).findings[0].evidence == {"places": ["cls"], "numbers": 32}


def test_it_names_the_zeros_that_keep_a_branch_asleep() -> None:
    zeros = by_the_check_concerned(SICK["zero-mlps"]).findings[0].evidence["zeros"]
    assert {"alpha", "out.0", "out.1", "out.2"} <= set(zeros)


@pytest.mark.parametrize(
    "build",
    [
        Host,
        traps.ZeroHead,
        traps.Auxiliary,
        traps.Returning,
        traps.WeightNormHead,
        partial(Host, partial(blocks.Scaled, 0.0)),
        partial(Host, blocks.ReZero),
        partial(Host, blocks.ZeroBranches),
        partial(Host, blocks.with_mlp(blocks.ConvMLP)),
        partial(Host, blocks.with_mlp(blocks.Experts)),
        blocks.SequenceFirst,
        blocks.Functional,
    ],
)
def test_sound_models_are_left_alone(build: Any) -> None:
    assert ids(examined(build)) == []


def test_every_healthy_place_is_left_alone() -> None:
    for case in healthy_places.CASES:
        assert all(each.severity == "note" for each in examined(case.build).findings), case.name


def test_what_pre_training_left_over_is_a_warning_and_a_spare_token_a_note() -> None:
    assert ids(examined(traps.Pretraining)) == [("warning", "unused-parameters")]

    class MaskToken(Host):
        def prepare(self, dim: int) -> None:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))

    assert ids(examined(MaskToken)) == [("note", "unused-parameters")]


def test_a_block_by_design_again_and_again_is_a_warning() -> None:
    assert ids(examined(partial(blocks.Albert, depth=1))) == [("warning", "shared-blocks")]


class CutPositions(Host):
    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        return torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], dim=1) + self.pos_embed.detach()


class CutBackbone(Host):
    def encode(self, tokens: Tensor) -> Tensor:
        with torch.no_grad():
            return super().encode(tokens)


class FrozenBackbone(Host):
    def prepare(self, dim: int) -> None:
        self.blocks.requires_grad_(False)


def test_what_is_cut_from_the_graph_is_an_error_only_if_it_is_most_of_the_model() -> None:
    (found,) = examined(CutPositions).findings
    assert (found.id, found.severity, found.evidence["parameters"]) == ("cut-from-the-graph", "warning", ["pos_embed"])
    (found,) = examined(CutBackbone).findings
    assert (found.id, found.severity) == ("cut-from-the-graph", "error")
    assert found.evidence["share"] > 0.5
    assert ids(examined(FrozenBackbone)) == [("note", "frozen-as-drawn")]


def test_frozen_zeros_are_a_note() -> None:
    class FrozenZeros(Host):
        def prepare(self, dim: int) -> None:
            self.pos_embed = nn.Parameter(torch.zeros(1, 1 + N, dim), requires_grad=False)

    assert ids(examined(FrozenZeros)) == [("note", "frozen-zeros")]


class DrawnTable(Host):
    """A table that is drawn, used, and not saved."""

    def prepare(self, dim: int) -> None:
        self.table = torch.randn(1, 1 + N, dim)

    def embed(self, x: Tensor) -> Tensor:
        return super().embed(x) + self.table.to(x)


def test_a_state_dict_has_to_restore_the_model() -> None:
    assert ids(examined(DrawnTable)) == []
    (found,) = examined(DrawnTable, factory=DrawnTable).findings
    assert (found.id, found.severity) == ("state-dict-does-not-restore", "error")
    assert found.evidence["largest_change"] > 1e-3
    assert ids(examined(Host, factory=Host)) == []
    assert found.evidence["plain_tensors"] == ["table"]
    (found,) = examined(Host, factory=partial(Host, depth=3)).findings
    assert found.id == "state-dict-does-not-restore"


class DrawnPosition(Host):
    """The position embedding is a plain tensor; another beside it is a constant."""

    def prepare(self, dim: int) -> None:
        del self.pos_embed
        self.pos_embed = torch.randn(1, 1 + N, dim) * 0.02
        self.wave = torch.linspace(-1, 1, dim)

    def embed(self, x: Tensor) -> Tensor:
        return super().embed(x) + self.wave


class DrawnInEachBlock(Block):
    """A plain tensor in every block, added to the scores of its attention's input."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.rand(DIM)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + self.bias)


@pytest.mark.parametrize(
    ("build", "named", "code"),
    [
        (
            DrawnPosition,
            ["pos_embed"],
            f"self.pos_embed = nn.Parameter(torch.randn(1, {1 + N}, {DIM}) * 0.02)   # learned",
        ),
        (
            partial(Host, DrawnInEachBlock),
            ["blocks.0.bias", "blocks.1.bias"],
            f"self.bias = nn.Parameter(torch.randn({DIM}) * 0.02)",
        ),
    ],
)
def test_a_plain_tensor_that_is_drawn_is_one_finding_that_names_it(build: Any, named: list[str], code: str) -> None:
    torch.manual_seed(0)
    first, device = diagnose(build(), image_size=32, checks=["forward", "parameters"], factory=build).findings
    assert (first.id, first.evidence["plain_tensors"]) == ("state-dict-does-not-restore", named)
    assert named[0] in first.summary.en
    assert named[0] in first.summary.ja
    assert first.fault.code.startswith(code)
    assert "register_buffer" in first.fault.code.splitlines()[1]
    assert (device.id, device.folded_under) == ("hard-wired-device", first.id)


def test_what_a_state_dict_lacks_follows_from_what_is_not_registered() -> None:
    found = examined(sick_parameters.PythonListViT, factory=sick_parameters.PythonListViT)
    assert [(each.id, each.folded_under) for each in found.findings] == [
        ("unregistered-parameters", None),
        ("state-dict-does-not-restore", "unregistered-parameters"),
    ]


class ReadInDictionary(Block):
    """One of two attentions is chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.kinds = nn.ModuleDict({"own": self.attn, "torch": nn.MultiheadAttention(DIM, 4)})
        del self.attn

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.kinds["own"](self.norm1(x))
        return x + self.mlp(self.norm2(x))


def test_what_is_there_to_choose_from_is_no_error() -> None:
    assert ids(examined(partial(Host, ReadInDictionary))) == [("warning", "unused-parameters")]


def test_a_trained_models_blocks_may_be_alike() -> None:
    assert ids(examined(traps._copies)) == [("note", "identical-start")]
    assert ids(examined(traps._copies, is_trained=True)) == []


def test_the_model_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    model = sick_start.ZeroMLPViT()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    diagnose(model, image_size=32, checks=["residual", "parameters", "gradient"])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("case", sick_one_block.CASES, ids=lambda case: case.name)
def test_one_block_among_others_is_found(case: Case) -> None:
    (found,) = by_the_check_concerned(case).causes
    assert (found.id, found.severity) == ("zero-gradient", case.severity)
    assert all(name.startswith(f"blocks.{sick_one_block.WHICH}.") for name in found.evidence["matrices"])


class Experts(nn.Module):
    """Sixteen, of which each token takes one: some are taken by none."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(DIM, 16)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(DIM, DIM), nn.GELU(), nn.Linear(DIM, DIM)) for _ in range(16)
        )

    def forward(self, x: Tensor) -> Tensor:
        share, chosen = self.gate(x * 0 + x.mean(dim=1, keepdim=True)).softmax(dim=-1).max(dim=-1)
        of_each = ((chosen == number)[..., None] * expert(x) for number, expert in enumerate(self.experts))
        return share[..., None] * sum(of_each)


class Routed(Block):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = Experts()


def test_an_expert_that_no_image_was_sent_to_is_none() -> None:
    assert not [each for each in ids(examined(partial(Host, Routed, depth=3))) if each[0] == "error"]


class LosesItsBlocks(Host):
    def encode(self, tokens: Tensor) -> Tensor:
        y = tokens
        for block in self.blocks:
            y = block(y)
        return self.norm(tokens)


class ForgetsItsMLP(Block):
    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        self.mlp(self.norm2(x))
        return x


class LastBlockLost(Host):
    """Tokens are read before the last block, as features often are."""

    def encode(self, tokens: Tensor) -> Tensor:
        before = tokens
        for block in self.blocks:
            before, tokens = tokens, block(tokens)
        return self.norm(before)


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (LosesItsBlocks, ["blocks"]),
        (partial(Host, ForgetsItsMLP), ["blocks.0.norm2", "blocks.0.mlp", "blocks.1.norm2", "blocks.1.mlp"]),
    ],
)
def test_work_that_is_thrown_away_is_an_error(build: Any, parts: list[str]) -> None:
    found = examined(build)
    assert [(each.severity, each.id) for each in found.causes] == [("error", "work-thrown-away")]
    assert found.findings[0].evidence["parts"] == parts


class LosesItsBlocksHoldsAnOldLayer(LosesItsBlocks):
    def prepare(self, dim: int) -> None:
        self.old = nn.Linear(dim, dim)


class ForgetsItsMLPHoldsAnOldTable(ForgetsItsMLP):
    def __init__(self) -> None:
        super().__init__()
        self.old = nn.Parameter(torch.randn(5, 5))


@pytest.mark.parametrize(
    ("build", "old"),
    [
        (LosesItsBlocksHoldsAnOldLayer, ["old"]),
        (partial(Host, ForgetsItsMLPHoldsAnOldTable), ["blocks.0.old", "blocks.1.old"]),
    ],
)
def test_what_was_never_called_is_told_beside_work_that_is_thrown_away(build: Any, old: list[str]) -> None:
    thrown_away, unused = examined(build).causes
    assert (thrown_away.id, unused.id, unused.evidence["parts"]) == ("work-thrown-away", "unused-parameters", old)
    assert not {"old", *old} & set(thrown_away.evidence["parts"])
    assert not any("old" in each for each in thrown_away.evidence["parameters"])


class LastMLPLost(Host):
    """The last block's tokens are read behind its attention."""

    def encode(self, tokens: Tensor) -> Tensor:
        *blocks, last = self.blocks
        for block in blocks:
            tokens = block(tokens)
        tokens = tokens + last.get_submodule("attn")(last.get_submodule("norm1")(tokens))
        last.get_submodule("mlp")(last.get_submodule("norm2")(tokens))
        return self.norm(tokens)


@pytest.mark.parametrize("build", [LastBlockLost, LastMLPLost])
def test_what_is_not_read_at_the_end_is_no_error(build: Any) -> None:
    assert ids(examined(partial(build, depth=3))) == [("warning", "unused-parameters")]


class TiedKeys(Host):
    def prepare(self, dim: int) -> None:
        for block in self.blocks:
            block.get_submodule("attn.k").weight = self.blocks[0].get_parameter("attn.k.weight")  # type: ignore[assignment]


class OneLinear(Host):
    def prepare(self, dim: int) -> None:
        for block in self.blocks:
            block.get_submodule("attn").out = self.blocks[0].get_submodule("attn.out")  # type: ignore[assignment]


@pytest.mark.parametrize(("build", "name"), [(TiedKeys, "attn.k.weight"), (OneLinear, "attn.out.weight")])
def test_a_single_matrix_of_several_blocks_is_found(build: Any, name: str) -> None:
    found = examined(build)
    assert ids(found) == [("warning", "shared-blocks")]
    assert found.findings[0].evidence["same"] == [[f"blocks.{number}.{name}" for number in range(2)]]
