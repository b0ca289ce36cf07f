"""Watching never stops a training, whatever the user's objects do to the watcher; what could not be watched is said."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from watch_parts import Parts, ViT, images_of, loader_of, parts, step, train

import vitscope
from vitscope._core.errors import UsageError
from vitscope.doctor.loop import watch as watching
from vitscope.doctor.loop.held import Held
from vitscope.doctor.loop.loaders import Loaders
from vitscope.doctor.loop.record import Record

pytestmark = pytest.mark.e2e  # whole loops


class NoRate(torch.optim.Optimizer):
    """As Adafactor in transformers: its groups hold lr=None."""

    def __init__(self, params: object) -> None:
        super().__init__(params, {"lr": None})  # type: ignore[arg-type]

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p -= 1e-3 * p.grad.sign()


class FixedBatch(ViT):
    def forward(self, x: Tensor) -> Tensor:
        assert len(x) == 16
        return super().forward(x)


class NoCopy(ViT):
    def __deepcopy__(self, memo: object) -> ViT:
        raise NotADirectoryError("no copying")


@pytest.mark.parametrize(
    "make",
    [lambda: parts(optimizer=lambda m: NoRate(m.parameters())), lambda: parts(FixedBatch()), lambda: parts(NoCopy())],
    ids=["no-rate", "fixed-batch", "no-copy"],
)
def test_no_model_and_no_optimizer_ends_its_own_training_for_being_watched(make: Callable[[], Parts]) -> None:
    p = make()
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 2)
    assert watched.report.facts["steps"] == 20
    assert not watched.findings


def test_the_watchers_own_errors_are_told_and_go_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("the watcher's own")

    monkeypatch.setattr(Held, "is_empty", broken)
    monkeypatch.setattr(Loaders, "_drew", broken)
    monkeypatch.setattr(Loaders, "origin", broken)
    monkeypatch.setattr(Held, "norm_of_some", broken)
    p = parts()
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 1)
    (note,) = [each for each in watched.report.notes if "Not watched" in each.en]
    for place in ("optimizer.step", "loader", "ViT.__call__", "Tensor.backward"):
        assert f"{place} (ZeroDivisionError: the watcher's own)" in note.en
        assert place in note.ja


@pytest.mark.parametrize("ends", [None, KeyboardInterrupt, ValueError])
def test_a_check_that_fails_is_a_hole_in_the_report(
    ends: type[BaseException] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(record: Record) -> object:
        raise ZeroDivisionError("the check's own")

    monkeypatch.setitem(watching.LOOP_CHECKS, "loop-data", broken)  # type: ignore[arg-type]
    p = parts()
    with pytest.raises(ends or _Fine), vitscope.watch(p.model, p.optimizer, p.loader) as watched:  # noqa: PT012
        train(p, 1)
        raise ends or _Fine
    (skip,) = watched.report.skipped
    assert skip.check == "loop-data"
    assert "ZeroDivisionError: the check's own" in skip.why.en


class _Fine(Exception):  # noqa: N818
    pass


def test_negative_labels_are_labels() -> None:
    images, labels = images_of()
    labels = labels.clone()
    labels[::4] = -1
    p = parts(
        loader=DataLoader(TensorDataset(images, labels), batch_size=16, shuffle=True),
        loss=nn.CrossEntropyLoss(ignore_index=-1),
    )
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 2)
    assert not watched.findings
    assert not watched.report.skipped


class Lookahead(torch.optim.Optimizer):
    """Without super().__init__, as the best-known one."""

    def __init__(self, optimizer: object) -> None:
        self.optimizer, self.state = optimizer, defaultdict(dict)
        self.param_groups = getattr(optimizer, "param_groups", [])

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        self.optimizer.step(closure)  # type: ignore[attr-defined]

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)  # type: ignore[attr-defined]


def test_an_optimizer_in_a_wrapper_without_hooks_is_watched_in_its_place() -> None:
    p = parts()
    p.optimizer = Lookahead(p.optimizer)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 1)
    assert watched.report.facts["steps"] == 10
    assert not watched.findings
    with pytest.raises(UsageError, match="Lookahead has not called"):
        vitscope.watch(p.model, Lookahead(3), p.loader).__enter__()


def test_a_start_that_fails_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    p, before = parts(), torch.Tensor.backward

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("vitscope.doctor.loop.recorder.Recorder._try_patch", broken)
    with pytest.raises(ZeroDivisionError):
        vitscope.watch(p.model, p.optimizer, p.loader).__enter__()
    assert torch.Tensor.backward is before
    assert not p.optimizer._optimizer_step_pre_hooks
    assert "__call__" not in vars(ViT)


class Scriptable(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(768, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1))


def test_torchscript_can_be_trained_and_made_in_the_block() -> None:
    p = parts(Scriptable())
    p.model = torch.jit.script(p.model)
    p.optimizer = torch.optim.AdamW(p.model.parameters(), 1e-3, weight_decay=0.0)
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        train(p, 1)
    assert watched.report.facts["forwards"] == 10
    p = parts(Scriptable())
    with vitscope.watch(p.model, p.optimizer, p.loader):
        train(p, 1)
        assert torch.jit.script(p.model)(images_of(2)[0]).shape == (2, 10)


def test_blocks_may_end_in_any_order() -> None:
    before = [torch.Tensor.backward, torch.optim.Optimizer.zero_grad, nn.Module.zero_grad, DataLoader.__iter__]
    p, q = parts(), parts()
    first, second = (vitscope.watch(each.model, each.optimizer, each.loader) for each in (p, q))
    one, two = first.__enter__(), second.__enter__()
    train(p, 1)
    first.__exit__(None, None, None)
    train(q, 1)
    second.__exit__(None, None, None)
    assert before == [torch.Tensor.backward, torch.optim.Optimizer.zero_grad, nn.Module.zero_grad, DataLoader.__iter__]
    assert "__call__" not in vars(ViT)
    assert [each.report.facts["forwards"] for each in (one, two)] == [10, 10]


@pytest.mark.parametrize("way", ["outside", "in place", "the model itself"])
def test_compiled_models_are_seen_whichever_was_given(way: str) -> None:
    p = parts()
    called: nn.Module = p.model
    if way == "in place":
        p.model.compile(backend="eager")
    else:
        called = torch.compile(p.model, backend="eager")  # type: ignore[assignment]
    given = called if way == "outside" else p.model
    given.eval()
    with vitscope.watch(given, p.optimizer, p.loader) as watched:
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            F.cross_entropy(called(images), labels).backward()
            p.optimizer.step()
    assert watched.report.facts["forwards"] == 10
    assert [finding.id for finding in watched.findings] == ["trained-in-evaluation-mode"]


def test_steps_on_validation_batches_are_told_by_the_batches() -> None:
    """Both loaders at once, and a validation that is broken off before batches from elsewhere."""
    p = parts(val=loader_of(160, seed=1))
    assert p.val is not None
    with vitscope.watch(p.model, p.optimizer, p.loader, val_loader=p.val) as both:
        for (images, labels), (others, _) in zip(p.loader, p.val, strict=True):
            p.model.train()
            step(p, images, labels)
            p.model.eval()
            with torch.no_grad():
                p.model(others)
    assert not both.findings, str(both)
    batches = list(p.loader)
    with vitscope.watch(p.model, p.optimizer, val_loader=p.val) as broken_off:
        for _ in range(2):
            p.model.train()
            for images, labels in batches:
                step(p, images, labels)
            p.model.eval()
            with torch.no_grad():
                p.model(next(iter(p.val))[0])
    assert not broken_off.findings, str(broken_off)


def test_steps_on_copies_of_validation_batches_are_found() -> None:
    """As on a GPU: the model is not given the loader's own tensors."""
    p = parts(val=loader_of(64, seed=1))
    assert p.val is not None
    with vitscope.watch(p.model, p.optimizer, p.loader, val_loader=p.val) as watched:
        for loader in (p.loader, p.val):
            for images, labels in loader:
                step(p, images.clone(), labels)
    (finding,) = watched.findings
    assert finding.id == "trained-on-validation-batches"
    assert finding.evidence["steps_on_validation_batches"] == 4


def test_models_and_steps_can_be_compiled_and_traced_in_the_block() -> None:
    p = parts(Scriptable())
    with vitscope.watch(p.model, p.optimizer, p.loader) as watched:
        called = torch.compile(p.model, backend="eager", fullgraph=True)
        stepped = torch.compile(p.optimizer.step, backend="eager")
        for images, labels in p.loader:
            p.optimizer.zero_grad()
            F.cross_entropy(called(images), labels).backward()
            stepped()
        assert torch.fx.symbolic_trace(p.model)(images_of(2)[0]).shape == (2, 10)
    assert called(images_of(2)[0]).shape == (2, 10)
    assert "Not watched" not in str(watched)
