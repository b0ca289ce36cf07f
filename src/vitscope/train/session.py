"""One training under way. In goes what `fit` was given; the methods are what `fit` does, in its words.

What a step does depends on (seed, step) alone; the checkpoint is written before all else, which can be made again from it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from vitscope._core.errors import DataError
from vitscope._core.text import Text
from vitscope.runs.folder import RunFolder
from vitscope.runs.metrics import EpochMetrics
from vitscope.train.checkpoint import Identity, Progress
from vitscope.train.ema import RunningMean
from vitscope.train.evaluate import Batch, Prepare, Totals, score_batches, totals
from vitscope.train.events import CheckpointWritten, EpochEnded, Event, Listener, Started, StepEnded
from vitscope.train.feed import batches_of_epoch, kept_on_device, part_of_this_process
from vitscope.train.finite import SMALLEST_SCALE, Watch, refuse
from vitscope.train.groups import parameter_groups
from vitscope.train.keeping import Keeper
from vitscope.train.machine import Machine
from vitscope.train.master_weights import MasterWeights, OwnWeights
from vitscope.train.optimizer import build_optimizer
from vitscope.train.randomness import generator_of, seed_of
from vitscope.train.schedule import lr_at
from vitscope.train.spec import TrainSpec

PUT_ON = ("forward", "_original_forward", "_is_accelerate_prepared", "_compiled_call_impl")
"""Attributes that Accelerate and torch.compile leave on a module; with them the next training would go without mixed precision."""

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
Loss = Callable[[Tensor, Tensor], Tensor]


class Session:
    """One training under way: what `fit` was given, made ready, and how far it has come."""

    augment: Augment | None
    prepare: Prepare | None
    val_batches: Iterable[Batch] | None
    loss_fn: Loss

    def __init__(
        self,
        model: nn.Module,
        batches: Iterable[Batch],
        spec: TrainSpec,
        machine: Machine,
        folder: RunFolder | None,
        identity: Identity,
        listeners: Sequence[Listener],
    ) -> None:
        self.spec, self.machine, self.folder, self.listeners = spec, machine, folder, listeners
        mine = part_of_this_process(batches, machine, even=True)
        self.batches, self.kept = kept_on_device(mine, machine) if spec.fast else (mine, None)
        self.steps_per_epoch = len(self.batches) // spec.accumulate  # type: ignore[arg-type]
        if self.steps_per_epoch == 0:
            raise DataError(
                f"there are {len(self.batches)} batches, too few for one step of {spec.accumulate}; give more images or a smaller batch"  # type: ignore[arg-type]
            )
        self.total = spec.duration.steps(per_epoch=self.steps_per_epoch)
        self.modes = {module: module.training for module in model.modules()}
        self.own = {name: vars(model)[name] for name in PUT_ON if name in vars(model)}
        self.raw = model.to(machine.device)
        self.groups = parameter_groups(model, muon=spec.optimizer == "muon")
        self.mean = RunningMean(model, spec.ema) if spec.ema is not None else None
        self.weights = MasterWeights(model) if machine.fast.masters else OwnWeights(model)
        if spec.compile:
            self.weights.worker.compile(mode=spec.compile if isinstance(spec.compile, str) else None)
        self.model, self.optimizer = machine.accelerator.prepare(
            self.weights.worker, build_optimizer(self.groups, spec)
        )
        self.progress = Progress()
        parts = {"model": model, "optimizer": self.optimizer, "mean": self.mean, "scaler": machine.accelerator.scaler}
        self.keeper = Keeper(
            folder=folder,
            identity=identity,
            machine=machine,
            parts={name: part for name, part in parts.items() if part is not None},
            weights=self.measured,
            total=self.total,
        )
        self.started, self.first_step = time.perf_counter(), 0
        self.watch = Watch(machine.device)
        self.exact = torch.float32 if machine.device.type == "mps" else torch.float64  # Apple's GPUs have no doubles

    def train_to_end_of_epoch(self, interrupted: Callable[[], bool]) -> None:
        """Optimizer steps until the epoch or the training ends; sums of loss and right answers gather in `progress`."""
        progress, spec = self.progress, self.spec
        epoch_start = time.perf_counter() - progress.epoch_seconds
        sums = torch.tensor(progress.sums, dtype=self.exact, device=self.machine.device)
        checkpoint_every = spec.checkpoint_every.steps(per_epoch=self.steps_per_epoch, total=self.total)
        last_batch = min(self.steps_per_epoch, self.total - progress.epoch * self.steps_per_epoch) * spec.accumulate
        self.model.train()
        for images, labels in batches_of_epoch(self.batches, progress.epoch, progress.batch, last_batch, spec.seed):
            lr = lr_at(progress.step, spec, total=self.total, per_epoch=self.steps_per_epoch)
            sums += self.train_batch(images, labels, lr)
            progress.batch += 1
            if progress.batch % spec.accumulate:
                continue
            progress.step += 1
            progress.epoch_seconds = time.perf_counter() - epoch_start
            if self.machine.may_synchronise(progress.step):
                self.take_up(sums)
                self.tell(self.state_of_step())
            if (
                self.machine.may_ask_others(progress.step)
                and self.machine.any_process(interrupted())
                and progress.batch < last_batch
            ):
                self.take_up(sums)
                self.save()
                raise self.keeper.interrupted(progress)
            if progress.step % checkpoint_every == 0 and progress.batch < last_batch:
                self.take_up(sums)
                self.save()
        self.take_up(sums)

    def take_up(self, sums: Tensor) -> None:
        """The epoch's sums as numbers; with a loss or a gradient that is none, nothing is told or saved any more."""
        self.progress.sums = sums.tolist()
        found = self.watch.found()
        if found is not None:
            what, step = found
            self.refuse(what, self.progress.sums[0] if what == "loss" else math.nan, step)
        scaler = self.machine.accelerator.scaler
        if scaler is not None and scaler.get_scale() < SMALLEST_SCALE:
            self.refuse("gradient", math.nan, self.progress.step)

    def refuse(self, what: str, value: float, step: int) -> None:
        """Ends the training: a number at a step (from 1) is none."""
        refuse(
            what,
            value,
            step=step,
            lr=lr_at(step - 1, self.spec, total=self.total, per_epoch=self.steps_per_epoch),
            model=self.raw,
            last_norm=float(self.watch.last_norm),
            progress=self.progress,
            folder=self.folder if self.machine.is_first else None,
        )

    def train_batch(self, images: Tensor, labels: Tensor, lr: float) -> Tensor:
        """Forward and backward for one batch, and a step of the optimizer when a whole batch is gathered: loss, right answers, images."""
        accelerator, device, rank = self.machine.accelerator, self.machine.device, self.machine.rank
        batch_number = self.progress.epoch * self.steps_per_epoch * self.spec.accumulate + self.progress.batch
        images, targets = images.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        if self.augment is not None:
            generator = generator_of(self.spec.seed, "augment", batch_number, rank)
            images, targets = self.augment(images, targets, generator)
        elif self.prepare is not None:
            images = self.prepare(images)
        torch.manual_seed(seed_of(self.spec.seed, "forward", batch_number, rank))
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if self.progress.batch % self.spec.accumulate == 0:
            self.optimizer.zero_grad()  # not behind the step: a gradient that is no number can still be looked at
        with accelerator.accumulate(self.model):
            scores = self.model(self.weights.cast(images)).float()
            loss = self.loss_fn(scores, targets)
            accelerator.backward(loss)
            self.weights.take_gradients()
            norm = None
            if accelerator.sync_gradients:
                limit = self.spec.gradient_clip if self.spec.gradient_clip is not None else float("inf")
                norm = accelerator.clip_grad_norm_(self.raw.parameters(), limit)
            scaled = accelerator.scaler is not None  # which leaves out steps without a finite gradient by itself
            self.watch.note(self.progress.step + 1, loss, None if scaled else norm)
            if (
                self.machine.device.type != "cpu" or self.watch.found() is None
            ):  # looking is free there, and saves the weights
                self.optimizer.step()
        if accelerator.sync_gradients:
            if self.mean is not None:
                self.mean.update_parameters(self.raw)
            self.weights.hand_out(self.raw)
        answers = targets if targets.ndim == 1 else targets.argmax(dim=1)
        right = (scores.detach().argmax(dim=1) == answers).sum()
        count = torch.full((), len(answers), dtype=self.exact, device=loss.device)
        return torch.stack([loss.detach().to(self.exact) * count, right.to(self.exact), count])

    def prepared(self, images: Tensor) -> Tensor:
        """Images as the model takes them, for measuring."""
        return self.weights.cast(self.prepare(images) if self.prepare is not None else images)

    def end_epoch(self) -> None:
        """Measures, then writes: checkpoint first, since all else can be made again from it."""
        progress, spec = self.progress, self.spec
        trained = Totals(*self.machine.sum_over_processes(progress.sums))
        measured = self.measure()
        progress.seconds = self.keeper.seconds()
        row = EpochMetrics(
            epoch=progress.epoch + 1,
            step=progress.step,
            seconds=progress.seconds,
            train_loss=trained.mean_loss,
            train_acc=trained.accuracy,
            val_loss=measured.mean_loss if measured else float("nan"),
            val_acc=measured.accuracy if measured else float("nan"),
            lr=lr_at(progress.step - 1, spec, total=self.total, per_epoch=self.steps_per_epoch),
            images_per_second=trained.images / progress.epoch_seconds,
        )
        if measured and not math.isfinite(measured.mean_loss):
            self.refuse("validation loss", measured.mean_loss, progress.step)
        progress.rows.append(row)
        progress.epoch += 1
        progress.batch, progress.sums, progress.epoch_seconds = 0, [0.0, 0.0, 0.0], 0.0
        self.save()
        self.keeper.write_results(progress)
        self.machine.track(row.to_dict(), progress.step)
        self.tell(EpochEnded(row))

    @property
    def measured(self) -> nn.Module:
        """The module whose weights are measured and saved: the model, or its running mean."""
        return self.raw if self.mean is None else self.mean.module

    def measure(self) -> Totals | None:
        """Loss and accuracy on the validation batches, with the weights that are saved."""
        if self.val_batches is None:
            return None
        autocast = self.machine.accelerator.autocast
        module = self.weights.hand_out(self.measured)
        batches = part_of_this_process(self.val_batches, self.machine, even=False)
        sums = totals(
            score_batches(module, batches, prepare=self.prepared, device=self.machine.device, autocast=autocast)
        )
        self.weights.hand_out(self.raw)
        return Totals(*self.machine.sum_over_processes(sums.tolist()))

    def save(self) -> None:
        """A checkpoint, which those who listen hear of."""
        path = self.keeper.save(self.progress)
        if path is not None:
            self.tell(CheckpointWritten(path, self.progress.step))

    def restore(self) -> None:
        """Takes up the folder's checkpoint, if there is one."""
        self.progress = self.keeper.restore() or self.progress
        self.first_step = self.progress.step
        self.weights.hand_out(self.raw)

    def hand_back(self) -> None:
        """Takes Accelerate's mixed-precision wrapper off the module, which is its owner's again, in the mode it was in."""
        # by hand: Accelerate's unwrap_model would take the owner's own decorators off forward too
        for name in PUT_ON:
            vars(self.raw).pop(name, None)
        vars(self.raw).update(self.own)
        self.raw.zero_grad(set_to_none=True)
        for module, training in self.modes.items():
            module.training = training

    def facts(self) -> Started:
        """What a training is, before its first step."""
        fast, kept = self.machine.fast.said, self.kept
        return Started(
            device=str(self.machine.device),
            precision=self.machine.precision,
            processes=self.machine.processes,
            fast=fast if kept is None else Text(f"{fast.en}, {kept.en}", f"{fast.ja}、{kept.ja}"),
            groups=self.groups,
            steps=self.total,
            steps_per_epoch=self.steps_per_epoch,
            first_step=self.progress.step,
        )

    def state_of_step(self) -> StepEnded:
        """Where the epoch stands, as this process sees it."""
        progress = self.progress
        now = Totals(*progress.sums)
        a_step = (time.perf_counter() - self.started) / max(progress.step - self.first_step, 1)
        return StepEnded(
            epoch=progress.epoch + 1,
            step=progress.step,
            loss=now.mean_loss,
            accuracy=now.accuracy,
            images_per_second=now.images * self.machine.processes / progress.epoch_seconds,
            seconds_left=a_step * (self.total - progress.step),
        )

    def tell(self, event: Event) -> None:
        """Hands an event to every listener, in the first process."""
        if self.machine.is_first:
            for listener in self.listeners:
                listener(event)
