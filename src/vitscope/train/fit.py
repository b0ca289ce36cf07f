"""The loop. In go a module, batches and a spec; out come trained weights, a row of metrics an epoch, and checkpoints on the way.

It trains anyone's model: it knows no recipe, prints nothing, and tells those who listen what happened (`events`). Devices, mixed
precision, processes and trackers are Accelerate's. What a step does depends on (seed, step) alone, so that a training that was killed
and resumed is bit for bit the training that was not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from vitscope._core.errors import ConfigError, ModelError
from vitscope.runs.folder import RunFolder
from vitscope.runs.metrics import EpochMetrics
from vitscope.train.checkpoint import Identity
from vitscope.train.evaluate import Batch, Prepare, refuse_labels_without_score
from vitscope.train.events import Listener
from vitscope.train.interrupt import interrupts_noted
from vitscope.train.machine import open_machine
from vitscope.train.randomness import global_generator_restored
from vitscope.train.session import Augment, Loss, Session
from vitscope.train.spec import TrainSpec


@dataclass(frozen=True)
class FitResult:
    """What a training came to: a row an epoch, and the optimizer steps behind it."""

    rows: tuple[EpochMetrics, ...]
    steps: int


def fit(
    model: nn.Module,
    train_batches: Iterable[Batch],
    spec: TrainSpec | None = None,
    *,
    val_batches: Iterable[Batch] | None = None,
    augment: Augment | None = None,
    prepare: Prepare | None = None,
    loss_fn: Loss | None = None,
    folder: RunFolder | str | Path | None = None,
    resume: bool = False,
    identity: Identity | None = None,
    listeners: Sequence[Listener] = (),
) -> FitResult:
    """Trains a classifier in place.

    Args:
        model: any module, images B C H W in, scores B Y out. With `spec.ema` it ends with the running mean of its weights.
        train_batches: images and labels (B), again and again: a torch `DataLoader`, vitscope's `BatchLoader`, any sized iterable.
        spec: how to train; its defaults otherwise. `batch_size` is for whoever makes the batches.
        val_batches: measured after each epoch; nothing is ever chosen by it.
        augment: (images, labels, generator) to (inputs, targets); targets are labels, or B Y weights.
        prepare: images to inputs for validation (and for training where `augment` is not given).
        loss_fn: scores and targets to a scalar; cross-entropy with `spec.label_smoothing` otherwise.
        folder: where metrics, weights and checkpoints go; nothing is written without it. One that is given by its path is made, and
            held alone until the end.
        resume: continue from the folder's checkpoint.
        identity: digests of what decides this training, by name (`recipe`, `data`); a checkpoint with others is refused.
        listeners: called with every event.

    Raises:
        NonFiniteLossError: the loss became NaN or infinite; the last good checkpoint is kept.
        Interrupted: Ctrl-C or SIGTERM; what was reached is saved.
        ConfigError: the spec is none, or asks for what this machine does not have.
        ModelError: the model is none, or has nothing to train.
        DataError: a batch is no pair of images and labels, or a label has no score.
        RunError: the path holds a run already (or, with `resume`, none), or cannot be written.
        CheckpointError: there is a checkpoint, but it is damaged or another training's.
    """
    spec = spec if spec is not None else TrainSpec()
    _check(model, spec)
    with ExitStack() as held:
        held.enter_context(global_generator_restored())
        interrupted = held.enter_context(interrupts_noted())
        place = held.enter_context(_held(folder, resume))
        machine = held.enter_context(open_machine(model, spec, place))
        session = Session(model, train_batches, spec, machine, place, identity or {}, listeners)
        session.augment, session.prepare, session.val_batches = augment, prepare, val_batches
        session.loss_fn = loss_fn or _cross_entropy(spec.label_smoothing)
        try:
            if resume:
                session.restore()
            session.tell(session.facts())
            while session.progress.step < session.total:
                session.train_to_end_of_epoch(interrupted)
                session.end_epoch()
        finally:
            session.hand_back()
        if session.mean is not None:
            model.load_state_dict(session.mean.module.state_dict())
        return FitResult(tuple(session.progress.rows), session.progress.step)


def _check(model: object, spec: object) -> None:
    """Says in a sentence what would else come to light somewhere below."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"fit was given the model {model!r}, expected a torch module such as create_model makes")
    if not isinstance(spec, TrainSpec):
        raise ConfigError(f"fit was given the spec {spec!r}, expected a TrainSpec, e.g. TrainSpec(duration='10ep')")
    if not any(p.requires_grad for p in model.parameters()):
        raise ModelError("no parameter of the model can be trained; set requires_grad on those that should learn")


def _held(folder: RunFolder | str | Path | None, resume: bool) -> AbstractContextManager[RunFolder | None]:
    """A run folder is held by who made it; one that is only a path is made and held here, by the first process."""
    if folder is None or isinstance(folder, RunFolder):
        return nullcontext(folder)
    first = os.environ.get("RANK", "0") == "0"
    return RunFolder.claim(folder, resume) if first else nullcontext(RunFolder(Path(folder)))


def _cross_entropy(smoothing: float) -> Loss:
    """The usual loss. Labels are looked at in every batch on a CPU, elsewhere in the first, since looking makes a GPU wait."""
    looked = False

    def loss(scores: Tensor, targets: Tensor) -> Tensor:
        nonlocal looked
        if targets.ndim == 1 and not (looked and scores.device.type != "cpu"):
            refuse_labels_without_score(targets, scores)
            looked = True
        return F.cross_entropy(scores, targets, label_smoothing=smoothing)

    return loss
