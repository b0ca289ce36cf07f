"""The loss that a user trains with asks something of the scores: what does not fit is an error in that loss's own words, what fits is none."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from test_doctor_forward import Finishing, Small, built, examined, found
from torch import Tensor, nn

from vitscope.doctor.arguments import loss_named
from vitscope.doctor.finding import Finding
from vitscope.doctor.learning.training import loss_of

pytestmark = pytest.mark.e2e  # whole examinations

Finish = Callable[[Tensor], Tensor]


def plain(x: Tensor) -> Tensor:
    return x


def sigmoid_by_hand(x: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-x))


def softmax(x: Tensor) -> Tensor:
    return x.softmax(dim=-1)


def log_softmax(x: Tensor) -> Tensor:
    return x.log_softmax(dim=-1)


def finished(finish: Finish, loss: str | nn.Module | None, classes: int = 5) -> Finding:
    (finding,) = examined(built(lambda: Finishing(finish, classes=classes)), "output", loss=loss).findings
    assert finding.summary["ja"] != finding.summary["en"]
    return finding


@pytest.mark.parametrize(
    ("finish", "loss", "fault", "said"),
    [
        (torch.sigmoid, nn.BCEWithLogitsLoss(), "sigmoid-applied-twice", "the sigmoid is applied twice"),
        (sigmoid_by_hand, "bce-with-logits", "sigmoid-applied-twice", "the sigmoid is applied twice"),
        (softmax, nn.BCEWithLogitsLoss(), "sigmoid-applied-twice", "a sigmoid is applied to what a softmax gives"),
        (lambda x: x.clamp(0, 1), "bce-with-logits", "sigmoid-applied-twice", "the scores are squeezed twice"),
        (plain, "nll", "no-log-softmax-before-nll", "the loss is nll, which takes logarithms of probabilities"),
        (plain, nn.NLLLoss(), "no-log-softmax-before-nll", "where log_softmax makes it 0"),
        (torch.sigmoid, "nll", "no-log-softmax-before-nll", "where log_softmax makes it 0"),
        (softmax, "nll", "no-log-softmax-before-nll", "the log is missing"),
        (softmax, nn.NLLLoss(), "no-log-softmax-before-nll", "the log is missing"),
        (plain, nn.BCELoss(), "no-sigmoid-before-bce", "the sigmoid is missing"),
        (log_softmax, nn.BCELoss(), "no-sigmoid-before-bce", "the sigmoid is missing"),
        (torch.tanh, "bce-of-probabilities", "no-sigmoid-before-bce", "the sigmoid is missing"),
    ],
)
def test_scores_that_a_told_loss_does_not_take_are_an_error(
    finish: Finish, loss: str | nn.Module, fault: str, said: str
) -> None:
    finding = finished(finish, loss)
    assert (finding.id, finding.severity) == (fault, "error")
    assert said.lower() in finding.summary["en"].lower()
    assert "cross-entropy" not in finding.summary["en"].lower()
    assert "クロスエントロピー" not in finding.summary["ja"]


@pytest.mark.parametrize(
    ("finish", "loss"),
    [
        (log_softmax, nn.NLLLoss()),
        (lambda x: (x.softmax(dim=-1) + 1e-3).log(), "nll"),
        (softmax, nn.MSELoss()),
        (torch.sigmoid, "mse"),
        (torch.sigmoid, nn.BCELoss()),
        (sigmoid_by_hand, nn.BCELoss()),
        (sigmoid_by_hand, "bce"),
        (lambda x: x.sigmoid().clamp(1e-6, 1 - 1e-6), nn.BCELoss()),
        (softmax, nn.BCELoss()),
        (plain, nn.CrossEntropyLoss()),
        (plain, nn.BCEWithLogitsLoss()),
        (plain, "bce"),
        (plain, "mse"),
        (plain, None),
    ],
)
def test_scores_that_a_told_loss_takes_are_left_alone(finish: Finish, loss: str | nn.Module | None) -> None:
    assert found(built(lambda: Finishing(finish)), "output", loss=loss) == {}


@pytest.mark.parametrize("loss", ["cross-entropy", nn.CrossEntropyLoss(), "nll", nn.NLLLoss()])
@pytest.mark.parametrize("finish", [plain, torch.tanh])
def test_a_loss_of_several_scores_learns_nothing_from_one(loss: str | nn.Module, finish: Finish) -> None:
    finding = finished(finish, loss, classes=1)
    assert (finding.id, finding.severity) == ("cross-entropy-of-one-score", "error")
    score = torch.randn(3, 1)
    assert float(F.cross_entropy(score, torch.zeros(3, dtype=torch.long))) == 0


@pytest.mark.parametrize(
    ("finish", "loss"), [(plain, None), (plain, "bce-with-logits"), (plain, "bce"), (plain, "mse"), (torch.sigmoid, nn.BCELoss())]
)  # fmt: skip
def test_one_score_with_a_loss_of_its_own_is_left_alone(finish: Finish, loss: str | nn.Module | None) -> None:
    assert found(built(lambda: Finishing(finish, classes=1)), "output", loss=loss) == {}


@pytest.mark.parametrize(
    ("finish", "en", "ja"),
    [
        (plain, "BCEWithLogitsLoss fits these scores, which are no probabilities", "合うのはBCEWithLogitsLossです"),
        (torch.tanh, "BCEWithLogitsLoss fits these scores", "合うのはBCEWithLogitsLossです"),
        (torch.sigmoid, "BCELoss fits these scores, which are between 0 and 1", "合うのはBCELossです"),
    ],
)
def test_which_of_the_two_bce_means_is_told(finish: Finish, en: str, ja: str) -> None:
    model = built(lambda: Finishing(finish))
    (note,) = examined(model, "output", loss="bce").notes
    assert en in note.en
    assert ja in note.ja
    assert not examined(model, "output", loss="bce-with-logits").notes
    assert not examined(model, "forward", loss="bce").notes


def test_what_fits_neither_bce_is_an_error() -> None:
    assert found(built(lambda: Finishing(log_softmax)), "output", loss="bce") == {"log-softmax-before-bce": "error"}


class ForPeople(Small):
    """Scores for the loss, and something else for people in evaluation mode."""

    def __init__(self, trained: Finish, shown: Finish) -> None:
        super().__init__()
        self.trained, self.shown = trained, shown

    def finish(self, scores: Tensor) -> Tensor:
        return (self.trained if self.training else self.shown)(scores)


@pytest.mark.parametrize(
    ("trained", "shown", "loss"),
    [
        (plain, torch.sigmoid, nn.BCEWithLogitsLoss()),
        (log_softmax, softmax, nn.NLLLoss()),
        (torch.sigmoid, plain, nn.BCELoss()),
    ],
)
def test_what_only_evaluation_mode_gives_meets_no_loss(trained: Finish, shown: Finish, loss: nn.Module) -> None:
    assert found(built(lambda: ForPeople(trained, shown)), "output", loss=loss) == {}


def test_a_head_of_zeros_says_nothing_of_probabilities() -> None:
    def zeros(finish: Finish) -> nn.Module:
        model = built(lambda: Finishing(finish))
        for name in ("head.weight", "head.bias"):
            nn.init.zeros_(model.get_parameter(name))
        return model

    assert found(zeros(plain), "output", loss=nn.BCELoss()) == {"no-sigmoid-before-bce": "error"}
    assert found(zeros(plain), "output", loss=nn.BCEWithLogitsLoss()) == {}
    assert found(zeros(torch.sigmoid), "output", loss=nn.BCELoss()) == {}
    assert found(zeros(torch.sigmoid), "output", loss="bce-with-logits") == {"sigmoid-applied-twice": "error"}


def test_a_bound_says_nothing_of_cross_entropy_where_another_loss_was_told() -> None:
    finding = finished(torch.tanh, nn.BCEWithLogitsLoss())
    assert (finding.id, finding.severity) == ("bounded-scores", "warning")
    assert finding.summary["en"].endswith("the scores stay between -1 and 1 (tanh).")


def driven_down(finish: Finish, classes: int) -> float:
    """The lowest cross-entropy that gradient descent on the scores themselves finds."""
    x = torch.randn(1, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05)
    for _ in range(1500):
        loss = F.cross_entropy(finish(x), torch.tensor([0]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return float(loss.detach())


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize(
    ("finish", "length", "operation"),
    [
        (lambda x: F.normalize(x, dim=-1), 1.0, "linalg_vector_norm"),
        (lambda x: 2 * F.normalize(x, dim=-1), 2.0, "linalg_vector_norm"),
        (lambda x: F.layer_norm(x, x.shape[-1:]), None, "native_layer_norm"),
        (lambda x: F.rms_norm(x, x.shape[-1:]), None, None),
    ],
    ids=["unit", "twice", "layer norm", "rms norm"],
)
def test_the_floor_under_scores_of_one_length_is_the_one_that_training_ends_on(
    finish: Finish, length: float | None, operation: str | None, classes: int
) -> None:
    finding = finished(finish, None, classes)
    assert finding.id == "bounded-scores"
    assert finding.evidence["floor"] == pytest.approx(driven_down(finish, classes), abs=2e-3)
    assert f"{length or math.sqrt(classes):.3g} long" in finding.summary["en"]
    if operation is not None:
        assert finding.evidence["operation"] == operation


def test_no_floor_is_told_where_an_images_own_scores_are_never_as_far_apart_as_those_of_all() -> None:
    finding = finished(lambda x: F.normalize(x, p=1.0, dim=-1), "cross-entropy", 10)
    assert finding.id == "bounded-scores"
    assert (finding.evidence["operation"], "floor" in finding.evidence) == ("linalg_vector_norm", False)
    assert "cannot fall" not in finding.summary["en"]


@pytest.mark.parametrize(
    "finish", [torch.tanh, lambda x: -x.tanh(), F.softsign, F.relu6], ids=["tanh", "minus tanh", "softsign", "relu6"]
)
def test_bounds_of_each_score_by_itself_have_the_floor_of_their_width(finish: Finish) -> None:
    finding = finished(finish, "cross-entropy", 10)
    width = finding.evidence["highest"] - finding.evidence["lowest"]
    assert finding.evidence["floor"] == pytest.approx(math.log(1 + 9 * math.exp(-width)))


def test_the_two_binary_losses_are_told_apart_and_trained_with() -> None:
    given = (nn.BCELoss, nn.BCEWithLogitsLoss(), "BCELoss", "bce_with_logits", "bce")
    assert [loss_named(loss) for loss in given] == [
        "bce-of-probabilities", "bce-with-logits", "bce-of-probabilities", "bce-with-logits", "bce",
    ]  # fmt: skip
    scores, labels = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    wanted = F.one_hot(labels, 2).float()
    assert loss_of(scores, labels, "bce-of-probabilities") == F.binary_cross_entropy(scores, wanted, reduction="sum")
    assert loss_of(scores, labels, "bce-with-logits") == F.binary_cross_entropy_with_logits(
        scores, wanted, reduction="sum"
    )
