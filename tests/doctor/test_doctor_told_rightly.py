"""Counts, places, fixes and skips say what is so; dropout that eval() leaves on, and models of one score."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import torch
from healthy_hosts import DIM, Block, Host, Split
from torch import Tensor, nn

from vitscope._core.raised import CodeError
from vitscope.doctor import examine
from vitscope.doctor.examination import Examination
from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding


def examined(model: nn.Module, check: str, loss: str | None = None, classes: int | None = None) -> Examination:
    return diagnose(model, image_size=32, checks=[check], loss=loss, num_classes=classes)


def only(found: Examination) -> Finding:
    (finding,) = found.findings
    return finding


class MadeEachTime(Split):
    """Two layers of the forward's own, of which one is called twice."""

    def merge(self, y: Tensor) -> Tensor:
        one, other = (nn.Linear(DIM, DIM).to(y) for _ in range(2))
        return other(one(one(super().merge(y))))


def test_what_the_forward_makes_is_counted_in_full_and_once() -> None:
    torch.manual_seed(0)
    finding = only(examined(Host(lambda: Block(MadeEachTime)), "parameters"))
    assert finding.evidence["numbers"] == 2 * 2 * (DIM * DIM + DIM)
    assert finding.evidence["places"] == [f"blocks.{n}.attn (made in the forward)" for n in range(2)]


def test_a_head_of_another_size_is_told_as_one() -> None:
    finding = only(examined(Host(), "forward", classes=100))
    assert finding.id == "wrong-output-shape"
    assert "num_classes" in finding.fault.advice.en
    assert "100" in finding.fault.code


class WithLabels(Host):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(x) + y


class Eater(Host):
    def forward(self, x: Tensor) -> Tensor:
        torch.empty(1 << 46)
        return super().forward(x)


class OnGpu(Host):
    def forward(self, x: Tensor) -> Tensor:
        raise AssertionError("Torch not compiled with CUDA enabled")


class Endless(Host):
    def forward(self, x: Tensor) -> Tensor:
        return self.forward(x)


class Leaves(Host):
    def forward(self, x: Tensor) -> Tensor:
        sys.exit(3)


class OwnError(Host):
    def forward(self, x: Tensor) -> Tensor:
        raise KeyError("pixels")


class OtherSize(Host):
    def forward(self, x: Tensor) -> Tensor:
        raise ValueError(f"no {tuple(x.shape)}")


@pytest.mark.parametrize(
    ("kind", "said", "advice"),
    [
        (WithLabels, "raised TypeError", "forward takes images alone"),
        (Eater, "asks for more memory than there is", "smaller"),
        (OnGpu, "asks for a GPU (Torch not compiled with CUDA enabled)", "x.device"),
        (Endless, "calls itself without end", "self.forward(x)"),
        (Leaves, "raised SystemExit (3)", "sys.exit"),
        (OwnError, "whatever the size of the images, its forward raised KeyError ('pixels')", "mend it first"),
        (OtherSize, "raised ValueError (no (2, 3, 32, 32))", "channels that are its own"),
    ],
)
def test_what_does_not_run_gets_advice_that_helps(kind: type[Host], said: str, advice: str) -> None:
    with pytest.raises(CodeError) as error:
        examined(kind(), "forward")
    assert said in str(error.value)
    assert advice in str(error.value)
    assert ("its own" in str(error.value)) == (kind is OtherSize)
    assert "forwardが" in error.value.text.ja
    assert "test_doctor_told_rightly.py" in str(error.value) or kind is WithLabels


def test_a_check_that_fails_is_skipped_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: object) -> None:
        raise RuntimeError("shape '[1, 2]' is invalid for input of size 3")

    monkeypatch.setitem(examine.CHECKS, "residual", fails)
    (skip,) = examined(Host(), "residual").skipped
    for said, began in ((skip.why.en, "the experiment ended in an error"), (skip.why.ja, "実験がエラーで終わりました")):
        assert said.startswith(began)
        assert "RuntimeError" in said
        assert "invalid for input" in said


def test_a_model_that_leaves_in_one_experiment_ends_no_examination(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(examine.CHECKS, "residual", lambda _: sys.exit(3))
    (skip,) = examined(Host(), "residual").skipped
    assert "SystemExit (3)" in skip.why.en


def test_a_part_that_is_not_found_is_skipped_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise ValueError("not enough values to unpack (expected 4, got 3)")

    monkeypatch.setattr("vitscope.doctor.patient.find_anatomy", fails)
    (skip,) = examined(Host(), "residual").skipped
    assert "unpack" not in skip.why.en + skip.why.ja
    assert "対応していません" in skip.why.ja


class Asleep(Block):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(DIM))
        nn.init.zeros_(self.mlp[3].weight)
        nn.init.zeros_(self.mlp[3].bias)
        nn.init.zeros_(self.mlp[0].bias)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.gamma * self.mlp(self.norm2(x))


def test_zeros_that_are_biases_are_no_evidence_and_neither_are_empty_lists() -> None:
    finding = next(each for each in examined(Host(Asleep), "parameters").findings if each.id == "blocked-by-zeros")
    assert finding.evidence["zeros"] == [f"blocks.{n}.{name}" for n in range(2) for name in ("gamma", "mlp.3.weight")]

    class NoSkip(Block):
        def forward(self, x: Tensor) -> Tensor:
            x = self.attn(self.norm1(x))
            return x + self.mlp(self.norm2(x))

    finding = next(each for each in examined(Host(NoSkip), "residual").findings if each.id == "skip-missing")
    assert "attentions_without_skip" in finding.evidence
    assert "mlps_without_skip" not in finding.evidence


class Beside(Block):
    """Attention and MLP read the same tokens and come back together."""

    bends, is_one_sum = True, True

    def __init__(self) -> None:
        super().__init__()
        if not self.bends:
            self.mlp[1] = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        return x + (self.attn(y) + self.mlp(y)) if self.is_one_sum else x + self.attn(y) + self.mlp(y)


@pytest.mark.parametrize("is_one_sum", [True, False], ids=["one sum", "two sums"])
@pytest.mark.parametrize("bends", [True, False], ids=["gelu", "affine"])
def test_an_mlp_without_an_activation_is_found_beside_the_attention_too(bends: bool, is_one_sum: bool) -> None:
    kind = type("Kind", (Beside,), {"bends": bends, "is_one_sum": is_one_sum})
    torch.manual_seed(0)
    found = examined(Host(kind), "residual")
    assert found.skipped == ()
    assert ("mlp-without-activation" in [each.id for each in found.findings]) is not bends


@pytest.mark.parametrize("scale", [1.0, 10.0])
def test_cosines_without_a_temperature_are_nearly_even(scale: float) -> None:
    class Cosine(Split):
        def scores(self, q: Tensor, k: Tensor) -> Tensor:
            return nn.functional.normalize(q, dim=-1) @ nn.functional.normalize(k, dim=-1).mT * scale

    torch.manual_seed(0)
    found = [each.id for each in examined(Host(lambda: Block(Cosine)), "attention").findings]
    assert ("weights-always-nearly-even" in found) is (scale == 1.0)


class Dropping(Host):
    def __init__(self, *, is_kept_on: bool) -> None:
        super().__init__()
        self.drop, self.is_kept_on = nn.Dropout(0.2), is_kept_on

    def train(self, mode: bool = True) -> Dropping:
        super().train(mode)
        if self.is_kept_on:
            self.drop.train(True)
        return self

    def embed(self, x: Tensor) -> Tensor:
        return self.drop(super().embed(x))


def test_dropout_that_eval_leaves_on_is_an_error_with_its_mechanism() -> None:
    torch.manual_seed(0)
    finding = only(examined(Dropping(is_kept_on=True), "determinism"))
    assert (finding.id, finding.severity) == ("random-in-evaluation", "error")
    assert (
        "After model.eval() drop is still in training mode, because the model overrides train()" in finding.summary.en
    )
    assert finding.evidence["modules"] == ["drop"]
    assert examined(Dropping(is_kept_on=False), "determinism").findings == ()


class One(Host):
    def __init__(self, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.head, self.finish = nn.Linear(DIM, 1), finish

    def forward(self, x: Tensor) -> Tensor:
        return self.finish(super().forward(x))


@pytest.mark.parametrize(
    ("finish", "loss", "expected"),
    [
        (torch.sigmoid, "bce-with-logits", ["sigmoid-applied-twice"]),
        (torch.sigmoid, "bce-of-probabilities", []),
        (torch.sigmoid, "bce", []),
        (torch.sigmoid, None, []),
        (nn.Identity(), "bce-with-logits", []),
        (nn.Identity(), "bce-of-probabilities", ["no-sigmoid-before-bce"]),
        (nn.Identity(), None, []),
        (torch.relu, None, ["rectified-scores"]),
    ],
    ids=["twice", "BCELoss", "either", "not told", "logits", "missing", "nothing", "relu"],
)
def test_a_model_of_one_score_is_examined_too(
    finish: Callable[[Tensor], Tensor], loss: str | None, expected: list[str]
) -> None:
    torch.manual_seed(0)
    found = examined(One(finish), "output", loss)
    assert [each.id for each in found.findings] == expected
    assert found.skipped == ()


class Logarithms(Host):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).log_softmax(dim=-1)


@pytest.mark.parametrize(("loss", "expected"), [("bce-with-logits", ["log-softmax-before-bce"]), ("nll", [])])
def test_logarithms_of_probabilities_are_no_logits(loss: str, expected: list[str]) -> None:
    assert [each.id for each in examined(Logarithms(), "output", loss).findings] == expected


class OneCut(Host):
    def embed(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)
        return tokens + self.pos_embed.detach()


class LastNotCalled(Host):
    def encode(self, tokens: Tensor) -> Tensor:
        return self.norm(self.blocks[0](tokens))


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (OneCut, "1 parameter (7.1 % of the numbers that should learn) is used and gets no gradient: pos_embed."),
        (LastNotCalled, "1 of 2 blocks is never called: blocks.1. It holds 18,960 numbers."),
    ],
)
def test_one_of_something_is_told_in_the_singular(build: Any, said: str) -> None:
    torch.manual_seed(0)
    (found,) = diagnose(build(), image_size=32, checks=["parameters"]).findings
    assert found.summary.en == said
