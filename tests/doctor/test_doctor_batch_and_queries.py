"""What stands or falls with the batch and with learned queries: experts of a limited capacity, norms along the batch, axes that are there already,
queries that no image reaches; and that no check spoils what another has recorded."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose

DIM = 48


def examined(model: nn.Module, *checks: str) -> Examination:
    return diagnose(model, image_size=32, num_classes=10, checks=list(checks))


class Encoder(nn.Module):
    """Patches with positions, through two blocks; `rest` reads them out."""

    def __init__(self, block: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, DIM, 8, 8)
        self.position = nn.Parameter(torch.randn(1, 16, DIM) * 0.02)
        self.blocks = nn.ModuleList([block() for _ in range(2)])
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)

    def tokens(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).mT + self.position
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.tokens(x).mean(1))


def layer(batch_first: bool = True) -> nn.Module:
    return nn.TransformerEncoderLayer(DIM, 2, 96, 0.0, norm_first=True, batch_first=batch_first)


class Switch(nn.Module):
    """Top-1 experts that take so many tokens of the batch and no more (Switch Transformer)."""

    def __init__(self, experts: int = 4) -> None:
        super().__init__()
        self.attend, self.norm, self.route = layer(), nn.LayerNorm(DIM), nn.Linear(DIM, experts)
        self.experts = nn.ModuleList([nn.Linear(DIM, DIM) for _ in range(experts)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.attend(x)
        tokens = self.norm(x).reshape(-1, DIM)
        share, chosen = self.route(tokens).softmax(-1).max(-1)
        of = F.one_hot(chosen, len(self.experts))
        fits = ((of.cumsum(0) * of).sum(-1) - 1) < len(tokens) // len(self.experts)
        out = torch.zeros_like(tokens)
        for number, expert in enumerate(self.experts):
            mine = ((chosen == number) & fits).nonzero()[:, 0]
            out = out.index_add(0, mine, expert(tokens[mine]) * share[mine, None])
        return x + out.view_as(x)


def test_experts_of_a_limited_capacity_are_no_error() -> None:
    torch.manual_seed(0)
    found = examined(Encoder(Switch), "batch-independence")
    assert [(each.id, each.severity) for each in found.findings] == [("images-compete", "warning")]


class MeanOfTheBatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + 0.1 * x.mean(0, keepdim=True).detach()


def test_what_flows_between_images_is_no_competition() -> None:
    torch.manual_seed(0)
    found = examined(Encoder(lambda: nn.Sequential(layer(), MeanOfTheBatch())), "batch-independence")
    assert "images-compete" not in {each.id for each in found.findings}
    assert found.findings


class AlongTheBatch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attend = layer()

    def forward(self, x: Tensor) -> Tensor:
        return self.attend((x - x.mean(0)) / (x.std(0) + 1e-5)) + x


def test_one_image_that_gives_nan_is_told_first() -> None:
    torch.manual_seed(0)
    found = examined(Encoder(AlongTheBatch), "forward", "batch-independence", "token-mixing")
    assert [(each.id, each.severity) for each in found.causes] == [("one-image-gives-no-numbers", "error")]
    assert found.causes[0].evidence["fails_at"] == [1]
    assert "patches-never-meet" not in {each.id for each in found.findings}


class Turned(Encoder):
    """The tokens in front, whatever the blocks expect."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__(lambda: layer(batch_first))

    def tokens(self, x: Tensor) -> Tensor:
        x = (self.embed(x).flatten(2).mT + self.position).transpose(0, 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x).transpose(0, 1)


def test_the_fix_of_an_attention_along_the_batch_is_none_that_stands_already() -> None:
    (found,) = examined(Turned(batch_first=True), "batch-independence").findings
    assert found.id == "attention-across-the-batch"
    assert "batch_first=False" in found.fault.code
    assert found.fault.advice.en.startswith("batch_first=True is set")
    assert not examined(Turned(batch_first=False), "batch-independence").findings
    (other,) = examined(Encoder(lambda: layer(batch_first=False)), "batch-independence").findings
    assert "batch_first=True" in other.fault.code


class Queries(Encoder):
    """Learned queries hear of one another, in torch's one operation, and then of the tokens (DETR, Q-Former)."""

    def __init__(self) -> None:
        super().__init__(layer)
        self.queries = nn.Parameter(torch.randn(1, 6, DIM))
        self.decode = nn.TransformerDecoderLayer(DIM, 2, 96, 0.0, norm_first=True, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.decode(self.queries.expand(len(x), -1, -1), self.tokens(x)).mean(1))


def test_queries_that_no_image_reaches_have_their_influence() -> None:
    torch.manual_seed(0)
    found = examined(Queries(), "attention")
    assert not found.findings
    assert not found.skipped


class Latents(nn.Module):
    """A small Perceiver: expanded latents read the patches, with the weights asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, DIM, 8, 8)
        self.position, self.latents = nn.Parameter(torch.randn(1, 16, DIM)), nn.Parameter(torch.randn(8, DIM))
        self.read = nn.MultiheadAttention(DIM, 1, batch_first=True)
        self.mix = nn.MultiheadAttention(DIM, 2, batch_first=True)
        self.head = nn.Linear(DIM, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens, z = self.embed(x).flatten(2).mT + self.position, self.latents.expand(len(x), -1, -1)
        z = z + self.read(z, tokens, tokens)[0]
        return self.head((z + self.mix(z, z, z)[0]).mean(1))


def test_no_check_spoils_what_another_has_recorded() -> None:
    torch.manual_seed(0)
    assert not examined(Latents(), "patch-layout", "token-mixing").not_made
    assert not examined(Latents(), "batch-independence", "patch-layout", "token-mixing").not_made


class Pool(Encoder):
    """Sequence pooling (CCT), along one axis or another."""

    def __init__(self, axis: int) -> None:
        super().__init__(layer)
        self.axis, self.score = axis, nn.Linear(DIM, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.tokens(x)
        return self.head((self.score(x).softmax(self.axis).mT @ x)[:, 0])


def test_a_pooling_whose_softmax_has_one_number_is_told_which_axis_to_take() -> None:
    torch.manual_seed(0)
    (found,) = (each for each in examined(Pool(-1), "attention").findings if each.severity == "error")
    assert found.id == "softmax-over-the-wrong-axis"
    assert "softmax(dim=1)" in found.fault.code
    assert not [each for each in examined(Pool(1), "attention").findings if each.severity == "error"]
