"""What the gradient that came back to the scores says about the loss. In go scores, their gradient and labels, out comes a `LossFit`.

Shapes: scores and gradient B Y, labels B. A mean cross-entropy over B images leaves (softmax(scores) - target) / B, whatever it was computed with;
so one least-squares fit tells whether the loss is one, how much label smoothing it has, and whether it was divided once more. Where classes have
weights, a fit for each label does. Images without a label (ignore_index) leave no gradient.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from vitscope.doctor.loop.misfits import left_by_kin, misfit_of
from vitscope.doctor.loop.record import LossFit

CLOSE = 0.02
"""How much of the gradient may be left over for the loss to count as a cross-entropy (half precision leaves 0.005)."""


@torch.no_grad()
def fitted(scores: Tensor, gradient: Tensor, labels: Tensor, *, scale: float) -> LossFit | None:
    """The loss that fits; None where the labels do not belong to the scores or nothing came back.

    Args:
        scores: B Y, as the model gave them.
        gradient: B Y, that came back to them.
        labels: B, class numbers; what is none has no label.
        scale: of a GradScaler; 1 without.
    """
    z, g, labels = scores.double().cpu(), gradient.double().cpu() / scale, labels.cpu().long()
    if len(labels) != len(z) or not bool(z.isfinite().all() and g.isfinite().all()) or float(g.norm()) == 0:
        return None
    has_label = (labels >= 0) & (labels < z.shape[1])
    if float(g[~has_label].norm()) > 0:
        return None
    count, is_scaled = len(z), scale != 1
    z, g, labels = z[has_label], g[has_label], labels[has_label]
    target = torch.nn.functional.one_hot(labels, z.shape[1]).double()
    hard, even = (z.softmax(-1) - target).flatten(), (target - 1 / z.shape[1]).flatten()
    basis = torch.stack([hard, even], dim=1)
    solution = torch.linalg.lstsq(basis, g.flatten()[:, None]).solution[:, 0]
    left = float((basis @ solution - g.flatten()).norm() / g.norm())
    size, smoothing = float(solution[0]), float(solution[1] / solution[0]) if float(solution[0]) else 0.0
    fits = (
        left < CLOSE
        and size > 0
        and -CLOSE < smoothing < 0.9
        and left <= _left_by_losses_of_probabilities(z, g, target)
    )
    weighted = None if fits else _size_with_weights(z, g, labels)
    if weighted is not None:
        return LossFit(True, weighted, 0.0, count, is_scaled, cross_entropy(z, labels))
    twice = float("inf") if fits else _left_by_softmax(z, g, target)
    is_twice = twice < CLOSE and 2 * left_by_kin(z, g, target) >= twice
    is_raw = not fits and _is_of_raw_scores(z, g, target)
    found = LossFit(fits, size * len(z), smoothing, count, is_scaled, cross_entropy(z, labels))
    is_negated = left < CLOSE and size < 0 and -CLOSE < smoothing < 0.9
    unknown = not (fits or is_twice or is_raw or is_negated)
    found = replace(found, misfit=misfit_of(z, g, target) if unknown else "")
    return replace(found, is_of_softmax=is_twice, is_of_raw_scores=is_raw, is_negated=is_negated)


@torch.no_grad()
def labels_in(gradient: Tensor) -> Tensor:
    """The labels B that a cross-entropy would have left a gradient B Y for, where no loader tells any: each score is pushed down but one's. An image
    without a gradient has no label."""
    return torch.where((gradient != 0).any(-1), gradient.argmin(-1), -1)


def fitted_without_labels(scores: Tensor, gradient: Tensor, *, scale: float) -> LossFit | None:
    """The same with the labels that the gradient tells; a cross-entropy with a minus in front tells them by the score that it pushes down alone."""
    fit = fitted(scores, gradient, labels_in(gradient), scale=scale)
    if fit is None or fit.is_cross_entropy:
        return fit
    other = fitted(scores, -gradient, labels_in(-gradient), scale=scale)
    is_negated = other is not None and other.is_cross_entropy
    return replace(other, is_cross_entropy=False, is_negated=True) if other is not None and is_negated else fit


def _size_with_weights(z: Tensor, g: Tensor, labels: Tensor) -> float | None:
    """The size of a cross-entropy with a weight for each class, beside its weighted mean; None where it is none, or too few labels come twice."""
    is_probability = bool((z > 0).all() and (z < 1).all())  # of these, a squared error looks alike
    if is_probability or len(labels) - len(set(labels.tolist())) < 4:
        return None
    hard = z.softmax(-1) - torch.nn.functional.one_hot(labels, z.shape[1])
    along, own = torch.zeros(z.shape[1]).double(), torch.zeros(z.shape[1]).double()
    along.index_add_(0, labels, (g * hard).sum(-1))
    own.index_add_(0, labels, hard.square().sum(-1))
    weights = (along / own.clamp_min(1e-30))[labels]
    left = float((weights[:, None] * hard - g).norm() / g.norm())
    return float(weights.sum()) if left < CLOSE and bool((weights > 0).all()) else None


def _is_of_raw_scores(z: Tensor, g: Tensor, target: Tensor) -> bool:
    """Whether only the labels' scores have a gradient, each the same, and the scores are neither logarithms of probabilities nor probabilities."""
    along = (g * target).sum(-1)
    is_label_alone = float((g * (1 - target)).norm()) <= 1e-6 * float(g.norm()) and bool((along < 0).all())
    is_even = float((along - along.mean()).abs().max()) <= CLOSE * float(along.abs().max())
    is_logarithm = float(z.logsumexp(-1).abs().max()) < 2e-2
    return is_label_alone and is_even and not is_logarithm and not bool(((z >= 0) & (z <= 1)).all())


def _left_by_softmax(z: Tensor, g: Tensor, target: Tensor) -> float:
    """How much of the gradient a cross-entropy leaves over which was given the softmax of the scores in their place, with smoothing or without."""
    p = z.softmax(-1)
    at_p = (p.softmax(-1) - target, target - 1 / z.shape[1])
    basis = torch.stack([(p * (each - (p * each).sum(-1, keepdim=True))).flatten() for each in at_p], dim=1)
    solution = torch.linalg.lstsq(basis, g.flatten()[:, None]).solution[:, 0]
    left, size = float((basis @ solution - g.flatten()).norm() / g.norm()), float(solution[0])
    return left if size > 0 and -CLOSE < float(solution[1]) / size < 0.9 else float("inf")


def _left_by_losses_of_probabilities(z: Tensor, g: Tensor, target: Tensor) -> float:
    """How much of the gradient a squared error and a binary cross-entropy leave over, the less of both: of probabilities that are nearly even,
    their gradients are nearly those of a cross-entropy. Infinite where scores are no probabilities."""
    if not bool((z > 0).all() and (z < 1).all()):
        return float("inf")
    shapes = [(z - target).flatten(), ((z - target) / (z * (1 - z))).flatten()]
    along = [shape * (shape @ g.flatten()) / (shape @ shape) for shape in shapes]
    return min(float((fit - g.flatten()).norm() / g.norm()) for fit in along)


def form_of(scores: Tensor) -> str:
    """What scores B Y look like: `probabilities` (rows that sum to one), `sigmoid` (all between 0 and 1) or `scores`."""
    z = scores.detach().float()
    if z.shape[1] < 2 or not bool((z >= 0).all() and (z <= 1).all()):
        return "scores"
    if float((z.sum(-1) - 1).abs().max()) < (1e-3 if scores.dtype in (torch.float32, torch.float64) else 2e-2):
        return "probabilities"
    return "sigmoid" if bool((z > 0).all() and (z < 1).all()) else "scores"


def cross_entropy(scores: Tensor, labels: Tensor) -> float:
    """The mean cross-entropy of scores B Y."""
    return float(torch.nn.functional.cross_entropy(scores.double().cpu(), labels.cpu().long()))
