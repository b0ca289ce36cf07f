"""Measures against scikit-learn, published tables and hand-made cases."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, top_k_accuracy_score
from torch import nn

from vitscope.train.evaluate import Totals, score_batches, totals
from vitscope.train.evaluation import BINS, evaluation_of, share


def random_scores(images: int = 200, classes: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    scores = draw.normal(size=(images, classes)) * 2
    exp = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exp / exp.sum(axis=1, keepdims=True), draw.integers(0, classes, images)


@pytest.mark.parametrize(
    ("right", "images", "low", "high"),
    [
        (0, 10, 0.0, 27.7533),  # 3.8416 / (10 + 3.8416)
        (10, 10, 72.2467, 100.0),
        (353, 360, 96.0416, 99.0561),
        (1, 29, 0.6113, 17.1755),  # Newcombe 1998, table I
        (81, 263, 25.5290, 36.6212),  # Newcombe 1998, table I
        (15, 148, 6.2386, 16.0560),  # Newcombe 1998, table I
    ],
)
def test_wilsons_interval(right: int, images: int, low: float, high: float) -> None:
    found = share(right, images)
    assert found.accuracy == pytest.approx(100 * right / images)
    assert (found.low, found.high) == (pytest.approx(low, abs=0.01), pytest.approx(high, abs=0.01))


def test_of_nothing_everything_is_possible() -> None:
    nothing = share(0, 0)
    assert math.isnan(nothing.accuracy)
    assert (nothing.low, nothing.high) == (0.0, 100.0)


@settings(max_examples=100, deadline=None)
@given(images=st.integers(1, 2000), data=st.data())
def test_the_interval_holds_the_share_and_is_even(images: int, data: st.DataObject) -> None:
    right = data.draw(st.integers(0, images))
    one, other = share(right, images), share(images - right, images)
    assert 0 <= one.low <= one.accuracy + 1e-9
    assert one.accuracy - 1e-9 <= one.high <= 100
    assert one.low == pytest.approx(100 - other.high, abs=1e-9)


def test_all_measures_against_scikit_learn() -> None:
    probabilities, labels = random_scores()
    names = tuple("abcdefg")
    found = evaluation_of(probabilities, labels, names)
    predicted = probabilities.argmax(axis=1)
    assert found.total.accuracy == pytest.approx(100 * accuracy_score(labels, predicted))
    assert found.loss == pytest.approx(log_loss(labels, probabilities, labels=range(7)))
    assert found.top5 == pytest.approx(100 * top_k_accuracy_score(labels, probabilities, k=5, labels=range(7)))
    matrix = confusion_matrix(labels, predicted, labels=range(7))
    assert np.array_equal(np.array(found.confusion), matrix)
    for i, part in enumerate(found.per_class):
        assert (part.right, part.images) == (matrix[i, i], matrix[i].sum())
    assert found.total.right == sum(part.right for part in found.per_class)


def test_the_loss_is_torchs() -> None:
    probabilities, labels = random_scores(seed=3)
    expected = nn.functional.nll_loss(torch.from_numpy(probabilities).log(), torch.from_numpy(labels))
    assert evaluation_of(probabilities, labels, tuple("abcdefg")).loss == pytest.approx(float(expected), rel=1e-9)


def test_calibration_by_hand() -> None:
    """Four images at confidence 0.95 of which three are right, two at 0.55 of which one is: (4·|0.95-0.75| + 2·|0.55-0.5|) / 6."""
    confident, unsure = [0.95, 0.05], [0.55, 0.45]
    probabilities = np.array([confident] * 4 + [unsure] * 2)
    labels = np.array([0, 0, 0, 1, 0, 1])
    found = evaluation_of(probabilities, labels, ("yes", "no"))
    assert found.calibration_error == pytest.approx(100 * (4 * 0.2 + 2 * 0.05) / 6)
    filled = {i: b for i, b in enumerate(found.bins) if b.images}
    assert {i: b.images for i, b in filled.items()} == {14: 4, 8: 2}
    assert filled[14].accuracy == 0.75
    assert filled[14].confidence == pytest.approx(0.95)
    assert len(found.bins) == BINS
    assert found.top5 is None


def test_edges_of_bins_belong_to_the_lower_one_and_certainty_to_the_last() -> None:
    probabilities = np.array([[1.0, 0.0], [0.6, 0.4]])
    found = evaluation_of(probabilities, np.array([0, 0]), ("a", "b"))
    assert [i for i, b in enumerate(found.bins) if b.images] == [8, 14]  # (8/15, 9/15] holds 0.6


def test_a_sure_and_wrong_answer_costs_much_but_not_infinity() -> None:
    found = evaluation_of(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b"))
    assert math.isfinite(found.loss)
    assert found.loss > 15


def test_a_class_without_images_is_said_to_have_none() -> None:
    probabilities, labels = random_scores(classes=3)
    found = evaluation_of(probabilities[labels < 2], labels[labels < 2], ("a", "b", "c"))
    assert found.per_class[2].images == 0
    assert found.confusion[2] == (0, 0, 0)


def test_it_goes_through_json() -> None:
    probabilities, labels = random_scores()
    value = evaluation_of(probabilities, labels, tuple("abcdefg")).to_dict()
    assert json.loads(json.dumps(value))["per_class"][2]["label"] == "c"


def test_totals_add_up_over_uneven_batches_and_leave_the_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, 3)).train()
    images, labels = torch.randn(11, 1, 4, 4), torch.randint(0, 3, (11,))
    whole = totals(score_batches(model, [(images, labels)]))
    parts = totals(score_batches(model, [(images[:4], labels[:4]), (images[4:], labels[4:])]))
    assert model.training
    torch.testing.assert_close(whole, parts)
    model.eval()
    with torch.no_grad():
        scores = model(images)
    found = Totals(*whole.tolist())
    assert found.mean_loss == pytest.approx(float(nn.functional.cross_entropy(scores, labels)), rel=1e-6)
    assert found.accuracy == pytest.approx(100 * float((scores.argmax(1) == labels).float().mean()))


def test_the_mode_comes_back_also_when_a_batch_is_broken() -> None:
    model = nn.Linear(4, 3).train()
    with pytest.raises(RuntimeError):
        list(score_batches(model, [(torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))]))
    assert model.training
