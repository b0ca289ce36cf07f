"""Models that run in evaluation mode and not in training mode."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from sick_by_hand import OfCore, linear, written_out
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose


class Dropped(OfCore):
    """A dropout whose rate is held under another name."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), self.dropout_rate if self.training else 0.0, self.training)  # type: ignore[arg-type]


class Mixed(LinearHost):
    """Mixes images in training, and forgets that a batch need not be of 64."""

    def forward(self, img: Tensor) -> Tensor:
        if self.training:
            img = 0.8 * img + 0.2 * img[torch.arange(64).flip(0)]
        return super().forward(img)


class EvenOnly(LinearHost):
    def forward(self, img: Tensor) -> Tensor:
        if self.training and len(img) % 2:
            raise ValueError("batches of an even number of images")
        return super().forward(img)


class WantsLabels(LinearHost):
    def forward(self, img: Tensor, labels: Tensor | None = None) -> Tensor:  # type: ignore[override]
        if self.training and labels is None:
            raise ValueError("labels are needed in training")
        return super().forward(img)


def normed_over_images() -> nn.Module:
    model = LinearHost(lambda dim, heads: OfCore(linear, dim, heads))
    return nn.Sequential(model, nn.BatchNorm1d(10))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: ConvHost(lambda dim, heads: Dropped(written_out, dim, heads)), "AttributeError"),
        (lambda: Mixed(lambda dim, heads: OfCore(written_out, dim, heads)), "IndexError"),
    ],
    ids=["dropped", "mixed"],
)
def test_it_is_an_error_in_both_languages(build: Callable[[], nn.Module], said: str) -> None:
    torch.manual_seed(0)
    found = diagnose(build(), image_size=32, checks=["determinism"]).findings
    assert [(each.id, each.severity) for each in found] == [("training-mode-raises", "error")]
    assert said in found[0].summary.en
    assert said in found[0].summary.ja


@pytest.mark.parametrize(
    "build",
    [
        lambda: EvenOnly(lambda dim, heads: OfCore(written_out, dim, heads)),
        lambda: WantsLabels(lambda dim, heads: OfCore(written_out, dim, heads)),
        normed_over_images,
    ],
    ids=["even only", "wants labels", "batch norm of scores"],
)
def test_what_waits_for_labels_or_more_images_is_not_accused(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert not diagnose(build(), image_size=32, checks=["determinism"]).findings
