"""What callers give `watch`, the curve check and `diagnose` that does not fit: one sentence in both languages; what does is taken."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import Host
from torch import nn
from torch.optim import lr_scheduler
from watch_parts import parts, train

import vitscope
from vitscope.doctor.arguments import ArgumentError
from vitscope.doctor.curve import examine_curve
from vitscope.doctor.examine import diagnose
from vitscope.runs import EpochMetrics

unchecked_watch = contextmanager(
    inspect.unwrap(vitscope.watch)
)  # without the annotations' own check, which only tests have
unchecked_curve, unchecked_diagnose = map(inspect.unwrap, (examine_curve, diagnose))
ROW = EpochMetrics(
    epoch=1,
    step=1,
    seconds=1.0,
    train_loss=1.0,
    train_acc=1.0,
    val_loss=1.0,
    val_acc=1.0,
    lr=1.0,
    images_per_second=1.0,
)


def refused(error: pytest.ExceptionInfo[ArgumentError], *words: str) -> None:
    """One sentence, with all of it in both languages."""
    text = error.value.text
    for word in words:
        assert word in text.en
        assert word in text.ja
    assert text.en.isascii()
    assert "ください" in text.ja
    assert "expected" in text.en
    assert "\n" not in text.en + text.ja


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("model", 3, "3"),
        ("model", nn.Linear, "torch.nn.modules.linear.Linear"),
        ("optimizer", "adam", "'adam'"),
        ("loader", 3, "3"),
        ("loader", "train", "'train'"),
        ("val_loader", 1.5, "1.5"),
        ("val_loader", nn.Sequential(), "Sequential()"),
        ("loss_fn", 3, "3"),
        ("loss_fn", "mse", "'mse'"),
        ("loss_fn", nn.CrossEntropyLoss, "CrossEntropyLoss"),
        ("scheduler", "cosine", "'cosine'"),
        ("scheduler", lr_scheduler.StepLR, "StepLR"),
        ("scheduler", [], "[]"),
        ("lang", 3, "3"),
    ],
)
@pytest.mark.parametrize("lang", ["en", "ja"])
def test_what_is_no_part_of_a_loop_is_refused_at_its_beginning(name: str, given: Any, said: str, lang: str) -> None:
    p, before = parts(), torch.Tensor.backward
    words = {"model": p.model, "optimizer": p.optimizer, "loader": p.loader, "lang": lang} | {name: given}
    with pytest.raises(ArgumentError) as error:
        unchecked_watch(**words).__enter__()
    refused(error, name, said)
    assert str(error.value) == error.value.text["ja" if lang == "ja" and name != "lang" else "en"]
    assert torch.Tensor.backward is before


def test_an_optimizer_is_no_scheduler() -> None:
    p = parts()
    with pytest.raises(ArgumentError) as error:
        unchecked_watch(p.model, p.optimizer, p.loader, scheduler=p.optimizer).__enter__()
    refused(error, "scheduler", "AdamW")


class Stepped:
    def step(self) -> None:
        return


def test_whatever_loops_have_is_taken() -> None:
    p = parts()
    for loader in (list(p.loader), iter(p.loader), (each for each in p.loader), p.loader.dataset, torch.zeros(3, 2)):
        with unchecked_watch(p.model, p.optimizer, loader, loss_fn=F.cross_entropy, scheduler=Stepped()):
            pass
    with unchecked_watch(p.model, p.optimizer, p.loader, loss_fn=lambda a, b: a.mean()) as watched:
        train(p, 1)
    assert not watched.findings


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"classes": "x"}, ("classes", "'x'")),
        ({"classes": 0}, ("classes", "0")),
        ({"classes": 2.5}, ("classes", "2.5")),
        ({"rows": 3}, ("rows", "3")),
        ({"rows": "metrics.csv"}, ("rows", "'metrics.csv'")),
        ({"rows": [{"epoch": 1}]}, ("rows", "{'epoch': 1}")),
        ({"reference": "cifar10"}, ("reference", "'cifar10'")),
        ({"settings": {"mixes": True}}, ("settings", "{'mixes': True}")),
        ({"checks": 5}, ("checks", "5")),
        ({"checks": [5]}, ("checks", "[5]")),
    ],
)
def test_what_is_no_curve_is_refused(given: dict[str, Any], words: tuple[str, ...]) -> None:
    with pytest.raises(ArgumentError) as error:
        unchecked_curve(**{"rows": [ROW], **given})
    refused(error, *words)


def test_whole_numbers_of_any_make_are_classes_of_a_curve() -> None:
    for classes in (10, 10.0, np.int64(10), torch.tensor(10), None):
        assert unchecked_curve([ROW], classes=classes).checks_run is not None


@pytest.mark.parametrize("checks", [5, [5], 1.5, [None]])
def test_checks_that_are_no_words_are_refused(checks: Any) -> None:
    with pytest.raises(ArgumentError) as error:
        unchecked_diagnose(Host(), image_size=32, checks=checks)
    refused(error, "checks", repr(checks))
