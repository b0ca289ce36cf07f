"""Parameters that choose tokens: hard in evaluation, where no gradient comes to them, and softly in training, where they learn."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from healthy_hosts import Host
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose


class ChoosesTokens(Host):
    """DynamicViT (Rao et al. 2021): a Gumbel mask in training, the best 32 tokens in evaluation."""

    def prepare(self, dim: int) -> None:
        self.keep = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2))

    def chosen(self, tokens: Tensor, logits: Tensor) -> Tensor:
        if self.training:
            mask = F.gumbel_softmax(logits, hard=True)[..., :1]
            return tokens * torch.cat([torch.ones_like(mask[:, :1]), mask[:, 1:]], dim=1)
        best = logits[:, 1:, 0].topk(32, dim=1).indices.sort(dim=1).values + 1
        places = torch.cat([torch.zeros_like(best[:, :1]), best], dim=1)
        return tokens.gather(1, places[..., None].expand(-1, -1, tokens.shape[-1]))

    def encode(self, tokens: Tensor) -> Tensor:
        tokens = self.blocks[0](tokens)
        return self.norm(self.blocks[1](self.chosen(tokens, self.keep(tokens))))


class ChoosesTokensForEver(ChoosesTokens):
    """The same with the hard choice in training too: nothing teaches it."""

    def chosen(self, tokens: Tensor, logits: Tensor) -> Tensor:
        self.training, was = False, self.training
        try:
            return super().chosen(tokens, logits)
        finally:
            self.training = was


def ids(model: nn.Module) -> set[str]:
    return {finding.id for finding in diagnose(model, image_size=32, checks=["parameters"]).findings}


def test_what_learns_in_training_is_not_cut_off() -> None:
    torch.manual_seed(0)
    assert "cut-from-the-graph" not in ids(ChoosesTokens())


def test_what_learns_nowhere_is() -> None:
    torch.manual_seed(0)
    assert "cut-from-the-graph" in ids(ChoosesTokensForEver())
