"""Every kind of model and every fault gets its page: eight stages, and a reason for each picture that its model does not allow."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from look_samples import STAGES, data_of, looked, our_vit, picture
from torch import Tensor, nn

from vitscope.model.create import build
from vitscope.model.presets import FAULTS, parse_model
from vitscope.report.looking.page import page_of

pytestmark = pytest.mark.e2e  # whole pages


class Windows(nn.Module):
    """Tokens that do not stand for one patch each: two patches are mixed into one before the first block."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.mix = nn.Conv2d(3, 24, 8, 8), nn.Conv2d(24, 48, 2, 2)
        self.body, self.head = nn.TransformerEncoderLayer(48, 4, 96, batch_first=True), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(self.body(self.mix(self.cut(x)).flatten(2).mT).mean(dim=1))
        return scores


MODELS: dict[str, dict[str, Any]] = {
    "start values": {"stirred": False},
    "mean pooling": {"pooling": "mean"},
    "registers": {"registers": 3},
    "tokenizer": {"patch_embedding": "conv-tokenizer", "tokenizer_layers": 3},
    "rotary": {"position": "rotary"},
    "no position": {"position": "none"},
    "sine table, norm behind": {"position": "sincos", "norm": "post"},
    "one head": {"heads": 1},
    "two classes": {"classes": 2},
    "flat patches": {"patch_size": [4, 16]},
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("changed", MODELS.values(), ids=MODELS)
def test_every_kind_of_model_gets_its_page(changed: dict[str, Any]) -> None:
    made = looked(our_vit(**{"depth": 1, **changed}))
    assert made.alarms == ()
    page = page_of(made)
    assert re.findall(r'<section class="stage" id="(\w+)">', page) == STAGES
    assert ("Not shown" in page) == bool(made.views.absent)


@pytest.mark.usefixtures("quick")
def test_grey_long_and_foreign_models_get_their_page() -> None:
    grey = looked(our_vit(channels=1, depth=1), channels=1)
    assert grey.pixels.shape == (32, 32, 1)
    assert "the image after normalising" in page_of(grey)
    long = looked(our_vit(image_size=[32, 64], depth=1), size=(32, 64))
    assert data_of(page_of(long))["grid"] == [4, 8]
    torch.manual_seed(0)
    mixed = looked(Windows().eval())
    assert mixed.alarms == ()
    page_of(mixed)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_gets_its_page(fault: str) -> None:
    spec = parse_model(
        {"name": "bad-vit", "fault": fault, "image_size": 16, "dim": 24, "depth": 1, "heads": 2, "mlp_dim": 32}
    )
    torch.manual_seed(0)
    made = looked(build(spec).eval(), picture(16, 16), size=(16, 16), spec=spec)
    assert re.findall(r'<section class="stage" id="(\w+)">', page_of(made, "ja")) == STAGES
