"""Small ViTs that read a patch where they mean the class token (M24)."""

from __future__ import annotations

import torch
from healthy_hosts import Host
from sick_case import Case
from torch import Tensor


class SecondTokenRead(Host):
    """The class token is joined in front; the token behind it is read."""

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens[:, 1])


class JoinedBehindReadInFront(Host):
    def embed(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).mT
        return torch.cat([tokens, self.cls_token.expand(len(x), -1, -1)], dim=1) + self.pos_embed


CASES: tuple[Case, ...] = (
    Case("second-token-read", "M24", "pixel-coverage", "warning", SecondTokenRead),
    Case("joined-behind-read-in-front", "M24", "pixel-coverage", "warning", JoinedBehindReadInFront),
)
