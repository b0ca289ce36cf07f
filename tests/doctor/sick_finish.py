"""ViTs whose logits go through a norm without weights, or are cut off above (M13)."""

import torch.nn.functional as F
from sick_case import Case
from sick_output import LucidViT, TorchLayersViT
from torch import Tensor, nn


class NormedScoresViT(TorchLayersViT):
    """Scores of every image have the same size: none can be sure."""

    def finish(self, scores: Tensor) -> Tensor:
        return F.layer_norm(scores, scores.shape[-1:])


class NegativeViT(TorchLayersViT):
    """A penalty for each class, none of them a reward."""

    def finish(self, scores: Tensor) -> Tensor:
        return -F.relu(scores)


class Ceiling(nn.Module):
    def forward(self, scores: Tensor) -> Tensor:
        return scores.clamp(max=0)


CASES: tuple[Case, ...] = (
    Case("normed-scores", "M13", "output", "warning", NormedScoresViT),
    Case(
        "normed-in-the-head", "M13", "output", "warning", lambda: LucidViT(nn.LayerNorm(10, elementwise_affine=False))
    ),
    Case("negative-scores", "M13", "output", "warning", NegativeViT),
    Case("scores-with-a-ceiling", "M13", "output", "warning", lambda: LucidViT(Ceiling())),
)
