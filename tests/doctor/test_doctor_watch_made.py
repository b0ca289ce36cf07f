"""Losses whose targets are no labels, mixed, soft or a teacher's, are told by what they were made of: sound ones count as examined, and a softmax
before them is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from watch_parts import CLASSES, Parts, ViT, images_of, parts

import vitscope
from vitscope.doctor.loop.made import making, place_of
from vitscope.doctor.loop.watch import Watched


def mixed(z: Tensor, y: Tensor) -> Tensor:
    return 0.3 * F.cross_entropy(z, y) + 0.7 * F.cross_entropy(z, y.flip(0))


def soft(z: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(z, 0.6 * F.one_hot(y, CLASSES) + 0.4 * F.one_hot(y.roll(1), CLASSES))


def by_hand(z: Tensor, y: Tensor) -> Tensor:
    target = (F.one_hot(y, CLASSES) + F.one_hot(y.flip(0), CLASSES)) / 2
    return -(target * z.log_softmax(-1)).sum(-1).mean()


def distilled(z: Tensor, y: Tensor) -> Tensor:
    teacher = torch.randn(len(z), CLASSES, generator=torch.Generator().manual_seed(int(y.sum()))).softmax(-1)
    return 9 * F.kl_div((z / 3).log_softmax(-1), teacher, reduction="batchmean") + 0.5 * F.cross_entropy(z, y)


def focal(z: Tensor, y: Tensor) -> Tensor:
    loss = F.cross_entropy(z, y, reduction="none")
    return ((1 - (-loss).exp()).square() * loss).mean()


SOUND = [mixed, soft, by_hand, distilled, focal]
TWICE: dict[str, tuple[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "softmax, mixed": ("softmax", lambda z, y: mixed(z.softmax(-1), y)),
    "softmax, soft": ("softmax", lambda z, y: soft(z.softmax(1), y)),
    "softmax, by hand": ("softmax", lambda z, y: by_hand(nn.Softmax(dim=-1)(z), y)),
    "sigmoid, mixed": ("sigmoid", lambda z, y: mixed(z.sigmoid(), y)),
    "sigmoid, soft": ("sigmoid", lambda z, y: soft(z.sigmoid(), y)),
}


def watched_with(
    p: Parts, loss: Callable[[Tensor, Tensor], Tensor], *, precision: torch.dtype | None = None
) -> Watched:
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            with torch.autocast("cpu", precision or torch.bfloat16, enabled=precision is not None):
                value = loss(p.model(images), labels)
            value.backward()
            p.optimizer.step()
    return watched


@pytest.mark.parametrize("loss", SOUND)
@pytest.mark.parametrize("precision", [None, torch.bfloat16])
def test_sound_losses_count_as_examined(
    loss: Callable[[Tensor, Tensor], Tensor], precision: torch.dtype | None
) -> None:
    watched = watched_with(parts(), loss, precision=precision)
    assert not watched.findings
    assert "loop-loss" in watched.report.checks_run


@pytest.mark.parametrize("name", TWICE)
def test_a_softmax_before_them_is_found(name: str) -> None:
    squashed, loss = TWICE[name]
    (finding,) = watched_with(parts(), loss).findings
    assert (finding.id, finding.severity) == ("probabilities-into-cross-entropy", "error")
    assert finding.evidence["output"] == squashed
    assert f"without a {squashed}" in finding.fault.advice.en
    assert squashed in finding.summary.ja


@pytest.mark.parametrize("loss", [mixed, soft, by_hand])
def test_a_softmax_at_the_models_end_is_found(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    (finding,) = watched_with(parts(ViT(final=nn.Softmax(-1))), loss).findings
    assert finding.id == "probabilities-into-cross-entropy"
    assert finding.summary.en.startswith("The model gives probabilities")


def test_a_model_whose_logarithm_is_taken_is_left_alone() -> None:
    def of_logarithms(p: Tensor, y: Tensor) -> Tensor:
        return mixed(p.log(), y)

    assert not watched_with(parts(ViT(final=nn.Softmax(-1))), of_logarithms).findings


def test_a_softmax_over_the_images_is_no_softmax_over_the_classes() -> None:
    """Images held against each other, as in losses of pairs."""
    scores = torch.randn(6, 4, requires_grad=True) * 1.0
    place = place_of(scores)
    assert place is not None
    across = making(scores.softmax(0).log_softmax(-1).sum(), place)
    along = making(scores.softmax(-1).log_softmax(-1).sum(), place)
    assert across is not None
    assert along is not None
    assert (across.log_softmax_of, along.log_softmax_of) == (frozenset(), {"softmax"})


def test_what_stands_before_the_scores_or_in_another_loss_is_not_followed() -> None:
    before = torch.randn(6, 4, requires_grad=True).softmax(-1)
    scores = before.log_softmax(-1) * 2
    place = place_of(scores)
    assert place is not None
    assert making(before.sum(), place) is None
    made = making(scores.square().mean(), place)
    assert made is not None
    assert not made.is_known
    assert place_of(torch.zeros(2, 2)) is None


def test_a_graph_too_large_is_not_followed() -> None:
    scores = torch.randn(6, 4, requires_grad=True) * 1.0
    place = place_of(scores)
    assert place is not None
    value = scores
    for _ in range(600):
        value = value + 1
    assert making(value.sum(), place) is None


def test_nothing_of_the_loop_is_held() -> None:
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        images, labels = images_of(16)
        loss = mixed(p.model(images), labels)
        node = loss.grad_fn
        loss.backward()
    assert node is not None
    assert watched.report is not None
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()
