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


class Shuffled(OfCore):
    """Shuffles tokens in training, one more than there are."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x[:, torch.randperm(x.shape[1] + 1)]
        return super().forward(x)


class GhostBatches(LinearHost):
    """Mixes within each sixteen images."""

    def forward(self, img: Tensor) -> Tensor:
        if self.training:
            img = img.view(-1, 16, *img.shape[1:]).flip(1).reshape(img.shape) * 0.1 + img
        return super().forward(img)


class AwaitsTargets(LinearHost):
    """The loop leaves the labels on the model before it calls it."""

    targets: Tensor | None = None

    def forward(self, img: Tensor) -> Tensor:
        scores = super().forward(img)
        return F.cross_entropy(scores, self.targets) if self.training else scores  # type: ignore[arg-type]


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
        (lambda: LinearHost(lambda dim, heads: Shuffled(written_out, dim, heads)), "IndexError"),
    ],
    ids=["dropped", "shuffled"],
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
        lambda: GhostBatches(lambda dim, heads: OfCore(written_out, dim, heads)),
        lambda: AwaitsTargets(lambda dim, heads: OfCore(written_out, dim, heads)),
        normed_over_images,
    ],
    ids=["even only", "wants labels", "sixteen at a time", "awaits targets", "batch norm of scores"],
)
def test_what_waits_for_labels_or_more_images_is_not_accused(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    assert not diagnose(build(), image_size=32, checks=["determinism"]).findings
