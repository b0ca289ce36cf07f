"""A batch in pieces gives the scores of the batch, and only where each image goes by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, images_for, tiny
from torch import Tensor, nn

from vitscope.model import pieces
from vitscope.model.create import build
from vitscope.model.last_block import quick_copy
from vitscope.model.pieces import in_pieces
from vitscope.model.specimens.spec import BadViTSpec


def sizes_of(model: nn.Module, images: Tensor, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, list[int]]:
    """The scores of a model that takes at most two images at once, and how many it took each time."""
    seen: list[int] = []
    forward = type(model).forward

    def counted(self: nn.Module, x: Tensor) -> Tensor:
        seen.append(len(x))
        return forward(self, x)  # type: ignore[no-any-return]

    with monkeypatch.context() as patch:
        patch.setattr(type(model), "forward", counted)
        if hasattr(model, "spec") and hasattr(model.spec, "tokens"):
            patch.setattr(pieces, "NUMBERS_AT_ONCE", 2 * model.spec.tokens * model.spec.dim)
        return in_pieces(model, images), seen


@pytest.mark.parametrize("switches", [{}, {"pooling": "mean"}, {"registers": 2, "position": "rotary"}], ids=str)
@pytest.mark.parametrize("count", [1, 2, 5, 6])
def test_the_scores_are_those_of_the_whole_batch(
    switches: dict[str, Any], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny(**switches).eval()
    images = images_for(model.spec)[:1].repeat(count, 1, 1, 1) + torch.arange(count).view(-1, 1, 1, 1)
    for worker in (model, quick_copy(model, torch.float64)):
        scores, seen = sizes_of(worker, images, monkeypatch)
        assert seen == {1: [1], 2: [2], 5: [2, 2, 1], 6: [2, 2, 2]}[count]
        torch.testing.assert_close(scores, model(images))


def test_who_looks_at_other_images_gets_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    mixing = build(BadViTSpec(**SPECIMEN)).double().eval()
    hooked = tiny().eval()
    hooked.get_submodule("head").register_forward_hook(lambda _, __, out: out - out.mean(dim=0))
    for model in (mixing, hooked, tiny().train(), nn.Sequential(nn.Flatten())):
        images = images_for(tiny().spec).repeat(3, 1, 1, 1)
        _, seen = sizes_of(model, images, monkeypatch)
        assert seen == [len(images)], type(model)
