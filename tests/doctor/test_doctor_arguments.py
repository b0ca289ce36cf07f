"""What callers may tell the doctor, and what they may hand to it: one sentence for what does not fit, and a user's model that stays as it was."""

from __future__ import annotations

import copy
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from healthy_hosts import Host
from torch import Tensor, nn

from vitscope._core.errors import LensError, VitscopeError
from vitscope.doctor.arguments import ArgumentError, loss_named, rate_given, size_given
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.examine import diagnose

IMAGES = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"image_size": (3, 32, 32)}, "image_size is (3, 32, 32)"),
        ({"num_classes": 0}, "num_classes is 0"),
        ({"batch_size": -3}, "batch_size is -3"),
        ({"lr": -1.0}, "lr is -1.0, expected the learning rate you train with as a number over 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lang": "de"}, "lang is 'de', expected one of en, ja"),
        ({"loss": "foo"}, "loss is 'foo', expected one of cross-entropy, nll, bce, mse"),
        ({"loss": nn.L1Loss()}, "loss is 'L1Loss'"),
        ({"checks": ["forwrad"]}, "there is no check 'forwrad' (did you mean 'forward'?)"),
        ({"images": torch.ones(8, 3, 32, 32)}, "the same number everywhere"),
        ({"images": IMAGES, "labels": torch.eye(10)[:8]}, "labels.argmax(1) of one-hot ones"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(given: dict[str, Any], said: str) -> None:
    with pytest.raises(VitscopeError) as error:
        diagnose(Host(), **{"image_size": 32, "checks": ["forward"], **given})
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


OF_ANOTHER_TYPE = """
import torch, vitscope
from torch import nn
images = torch.randn(8, 3, 32, 32)
for given in ({"image_size": "32"}, {"image_size": 31.5}, {"channels": 2.5}, {"images": images.numpy()}, {"images": list(images)}):
    try:
        vitscope.diagnose(nn.Linear(2, 2), **{"image_size": 32, **given})
    except vitscope.VitscopeError as error:
        print(error)
"""


@pytest.mark.e2e
def test_what_is_of_another_type_is_refused_where_nothing_checks_types() -> None:
    done = subprocess.run([sys.executable, "-c", OF_ANOTHER_TYPE], capture_output=True, text=True, check=True)
    said = done.stdout.splitlines()
    assert [line.split(",")[0] for line in said] == [
        "image_size is '32'", "image_size is 31.5", "channels is 2.5", "images are a ndarray", "images are a list",
    ]  # fmt: skip


def test_sizes_losses_and_one_check_may_be_given_as_people_write_them() -> None:
    assert [size_given(size) for size in (32, 32.0, (32,), (24, 32), torch.Size([8, 16]), None)] == [
        32, 32, 32, (24, 32), (8, 16), None,
    ]  # fmt: skip
    losses = ("cross_entropy", "CrossEntropyLoss", nn.CrossEntropyLoss, nn.CrossEntropyLoss(label_smoothing=0.1))
    assert {loss_named(loss) for loss in losses} == {"cross-entropy"}
    assert [loss_named(loss) for loss in (None, nn.BCEWithLogitsLoss(), "mse")] == [None, "bce-with-logits", "mse"]
    assert diagnose(Host(), image_size=32, checks="forward").checks_run == ("forward",)


def test_the_language_is_that_which_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")
    given: dict[str, Any] = {"image_size": 32, "checks": ["forward"]}
    found = diagnose(Host(), **given, lang="ja")
    assert "健全" in str(found)
    assert "健全" in found._repr_html_()
    assert "healthy" in found.text("en")
    assert found.to_dict()["findings"] == diagnose(Host(), **given).to_dict()["findings"]
    assert "healthy" in str(diagnose(Host(), **given))
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    assert "healthy" in diagnose(Host(), **given, lang="en")._repr_html_()
    assert "スコア" in str(diagnose(nn.Identity(), **given, lang="ja"))


def test_a_learning_rate_is_a_number_over_0_of_whatever_make() -> None:
    assert [rate_given(lr) for lr in (None, 1, 0.5, np.float32(0.25), torch.tensor(0.125))] == [
        None,
        1,
        0.5,
        0.25,
        0.125,
    ]
    for lr in ("0.1", -1.0, 0, True, float("nan"), float("inf"), [0.1], torch.ones(2)):
        with pytest.raises(ArgumentError, match="lr is ") as refused:
            rate_given(lr)
        assert refused.value.text.ja.startswith("lrに")


def test_torchscript_is_refused_in_a_sentence() -> None:
    scripted = torch.jit.trace(Host().eval(), IMAGES[:2])
    with pytest.raises(VitscopeError, match="is TorchScript, whose operations cannot be followed"):
        diagnose(scripted, image_size=32)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_quantised_model_is_refused_in_a_sentence() -> None:
    small = torch.ao.quantization.quantize_dynamic(Host().eval(), {nn.Linear}, torch.qint8)
    with pytest.raises(VitscopeError, match=r"is quantised .* computes with integer weights"):
        diagnose(small, image_size=32)


class ItsOwnCopy(Host):
    def __deepcopy__(self, memo: dict[int, Any]) -> ItsOwnCopy:
        return self


class SharedCopy(Host):
    def __deepcopy__(self, memo: dict[int, Any]) -> SharedCopy:
        twin = type(self)()
        twin.head.weight = self.head.weight
        return twin


@pytest.mark.parametrize("kind", [ItsOwnCopy, SharedCopy])
def test_a_model_whose_copy_is_no_copy_is_refused_and_stays(kind: Callable[[], nn.Module]) -> None:
    model = kind()
    before = {name: (p, p.detach().clone()) for name, p in model.named_parameters()}
    with pytest.raises(VitscopeError, match="shares its parameters with it"):
        diagnose(model, image_size=32)
    assert all(p is model.get_parameter(name) and torch.equal(p, was) for name, (p, was) in before.items())
    assert model.training


def test_a_factory_may_give_the_users_own_model_back() -> None:
    model = Host()
    before = copy.deepcopy(model.state_dict())
    diagnose(model, image_size=32, checks=["parameters"], factory=lambda: model)
    assert model.training
    assert all(t.dtype == before[n].dtype and torch.equal(t, before[n]) for n, t in model.state_dict().items())


def test_a_factory_that_fails_is_no_traceback() -> None:
    def broken() -> nn.Module:
        raise ZeroDivisionError("no")

    (skip,) = diagnose(Host(), image_size=32, checks=["parameters"], factory=broken).skipped
    assert skip.why.en == "the factory fails with ZeroDivisionError: no"
    assert skip.why.ja == "factoryの呼び出しが失敗しました（ZeroDivisionError: no）"


class FeaturesFirst(Host):
    def forward(self, x: Tensor) -> Any:
        tokens = self.encode(self.embed(x))
        return tokens[:, 0], self.read(tokens)


def test_of_several_results_the_one_with_a_score_for_each_class_is_taken() -> None:
    found = diagnose(FeaturesFirst(), image_size=32, num_classes=10, checks=["forward", "input-blindness", "output"])
    assert (found.findings, found.facts["classes"]) == ((), 10)


class OneScore(Host):
    squeezed = False

    def prepare(self, dim: int) -> None:
        self.head = nn.Linear(dim, 1)

    def read(self, tokens: Tensor) -> Tensor:
        score: Tensor = self.head(tokens[:, 0])
        return score.squeeze(-1) if self.squeezed else score


class OneNumber(OneScore):
    squeezed = True


@pytest.mark.parametrize("kind", [OneScore, OneNumber])
def test_a_model_with_one_score_is_examined(kind: Callable[[], nn.Module]) -> None:
    found = diagnose(
        kind(), image_size=32, num_classes=1, loss="bce", checks=["forward", "input-blindness", "parameters", "overfit"]
    )
    assert found.findings == ()
    (skip,) = found.skipped
    assert skip.check == "overfit"
    assert "gives one score" in skip.why.en


def test_inference_mode_round_the_examination_changes_nothing() -> None:
    checks = ["input-blindness", "parameters", "residual"]
    with torch.inference_mode():
        inside = diagnose(Host(), image_size=32, checks=checks)
        assert torch.is_inference_mode_enabled()
    assert (inside.findings, inside.skipped) == ((), ())


def test_a_model_that_asks_for_exact_algorithms_does_not_leave_them_on() -> None:
    class Asks(Host):
        def forward(self, x: Tensor) -> Any:
            torch.use_deterministic_algorithms(True)
            return super().forward(x)

    assert not torch.are_deterministic_algorithms_enabled()
    diagnose(Asks(), image_size=32, checks=["forward"])
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_part_that_cannot_be_followed_costs_one_check_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(patient: Any) -> Any:
        raise LensError("it writes into parts of a tensor")

    monkeypatch.setitem(CHECKS, "position", lost)
    found = diagnose(Host(), image_size=32, checks=["forward", "position"])
    assert found.checks_run == ("forward",)
    assert "it writes into parts of a tensor" in found.skipped[0].why.en
