"""The loop: what a step does against hand-written torch, what it refuses, what it leaves as it was, whom it tells."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from train_samples import (
    CLASSES,
    SHADES,
    loader,
    noisy,
    numbers,
    pixels,
    small_vit,
    spec_of,
    table,
    train,
    val_loader,
)

from vitscope._core.errors import CheckpointError, ConfigError, DataError, NonFiniteLossError
from vitscope.data import BatchLoader
from vitscope.runs import RunFolder, read_metrics
from vitscope.train import machine as machines
from vitscope.train.checkpoint import load_checkpoint
from vitscope.train.ema import RunningMean
from vitscope.train.events import EpochEnded, Event, Started, StepEnded
from vitscope.train.feed import EveryNth
from vitscope.train.finite import largest_gradient
from vitscope.train.fit import fit
from vitscope.train.schedule import lr_at


def tensors(images: int = 40, seed: int = 0) -> TensorDataset:
    held = table(images, seed=seed)
    return TensorDataset(pixels(torch.from_numpy(held.images).permute(0, 3, 1, 2)), torch.from_numpy(held.labels))


def batches(images: int = 40, size: int = 8) -> list[tuple[Tensor, Tensor]]:
    return [(x, y) for x, y in DataLoader(tensors(images), batch_size=size)]


def by_hand(model: nn.Module, data: Any, epochs: int, **settings: Any) -> list[float]:
    """SGD as anyone would write it: mean training loss of each epoch. (Adam would blow rounding up, where a gradient is exactly 0.)"""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    losses = []
    model.train()
    for _ in range(epochs):
        total, images = 0.0, 0
        for x, y in data:
            loss = F.cross_entropy(model(x), y, label_smoothing=settings.get("label_smoothing", 0.0))
            optimizer.zero_grad()
            loss.backward()
            if "gradient_clip" in settings:
                torch.nn.utils.clip_grad_norm_(model.parameters(), settings["gradient_clip"])
            optimizer.step()
            total, images = total + loss.item() * len(y), images + len(y)
        losses.append(total / images)
    return losses


@pytest.mark.parametrize("settings", [{}, {"label_smoothing": 0.2}, {"gradient_clip": 0.05}], ids=str)
def test_a_training_is_what_anyone_would_write(settings: dict[str, Any]) -> None:
    ours, theirs = small_vit(), small_vit()
    result = fit(
        ours, batches(), spec_of(optimizer="sgd", schedule="constant", weight_decay=0.0, duration="2ep", **settings)
    )
    expected = by_hand(theirs, batches(), 2, **settings)
    assert [row.train_loss for row in result.rows] == pytest.approx(expected, rel=1e-5)
    for (name, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4, msg=name)


def test_clipping_and_smoothing_change_the_training() -> None:
    plain, clipped, smooth = (
        train(optimizer="sgd", **s)[1] for s in ({}, {"gradient_clip": 0.01}, {"label_smoothing": 0.3})
    )
    assert clipped.rows[-1].train_loss > plain.rows[-1].train_loss
    assert smooth.rows[0].train_loss != plain.rows[0].train_loss


def test_a_clipped_step_of_sgd_is_as_long_as_the_limit() -> None:
    model = small_vit()
    before = [p.detach().clone() for p in model.parameters()]
    settings: dict[str, Any] = {
        "optimizer": "sgd",
        "momentum": 0.0,
        "weight_decay": 0.0,
        "schedule": "constant",
        "lr": 1.0,
    }
    fit(model, batches(8), spec_of(duration="1st", gradient_clip=0.25, **settings))
    moved = math.sqrt(sum((a - b).square().sum().item() for a, b in zip(before, model.parameters(), strict=True)))
    assert moved == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_accumulated_parts_are_one_big_batch(optimizer: str) -> None:
    whole, parts = small_vit(), small_vit()
    settings: dict[str, Any] = {"optimizer": optimizer, "duration": "4st", "gradient_clip": 1.0, "lr": 0.001}
    big = fit(whole, batches(size=8), spec_of(**settings))
    small = fit(parts, batches(size=2), spec_of(accumulate=4, **settings))
    assert big.steps == small.steps == 4
    assert small.rows[0].train_loss == pytest.approx(big.rows[0].train_loss, rel=1e-4)
    assert small.rows[0].train_acc == big.rows[0].train_acc
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_parts_that_fill_no_whole_batch_are_left_out() -> None:
    result = fit(
        small_vit(), batches(40, size=4), spec_of(accumulate=4, duration="2ep")
    )  # 10 parts: 2 steps of 4, 2 left
    assert [row.step for row in result.rows] == [2, 4]


def test_the_running_mean_is_the_one_computed_by_hand(tmp_path: Path) -> None:
    decay, model, seen = 0.5, small_vit(), []

    def listen(event: Event) -> None:
        if isinstance(event, StepEnded):
            seen.append({k: v.clone() for k, v in model.state_dict().items()})

    result = fit(
        model,
        batches(),
        spec_of(ema=decay, duration="2ep"),
        val_batches=val_loader(),
        prepare=pixels,
        augment=lambda x, y, g: (x, y),
        folder=RunFolder.create(tmp_path),
        listeners=[listen],
    )
    mean = seen[0]
    for n, weights in enumerate(seen[1:], start=1):
        d = min(decay, (1 + n) / (10 + n))
        mean = {k: d * mean[k] + (1 - d) * weights[k] for k in mean}
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, mean[name], msg=name)
    assert not torch.equal(seen[-1]["head.weight"], mean["head.weight"])
    with torch.no_grad():
        model.eval()
        scores = [(model(pixels(x)), y) for x, y in val_loader()]
    loss = sum(float(F.cross_entropy(s, y, reduction="sum")) for s, y in scores) / 13
    assert result.rows[-1].val_loss == pytest.approx(loss, rel=1e-6)


class Odd(nn.Module):
    """All that a state may hold beside weights of its own: shared ones, complex ones, buffers that are saved and not, more state."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Linear(2, 2, bias=False)
        self.same = self.one
        self.wave = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("loose", torch.zeros(1), persistent=False)
        self.register_buffer("count", torch.tensor(0))

    def get_extra_state(self) -> dict[str, int]:
        return {"version": 1}

    def set_extra_state(self, state: dict[str, int]) -> None:
        assert state == {"version": 1}


def test_the_running_mean_follows_all_that_a_model_may_hold() -> None:
    model = Odd()
    mean = RunningMean(model, decay=0.5)
    expected = 0.0
    for n, value in enumerate((1.0, 2.0, 3.0)):
        with torch.no_grad():
            model.one.weight.fill_(value)
            model.wave.fill_(value * 1j)
            model.loose.fill_(value)
            model.count += 1
        mean.update_parameters(model)
        decay = min(0.5, (1 + n) / (10 + n)) if n else 0.0
        expected = decay * expected + (1 - decay) * value
        held = mean.module
        torch.testing.assert_close(held.one.weight, torch.full((2, 2), expected))
        torch.testing.assert_close(held.wave, torch.full((2,), expected * 1j))
        torch.testing.assert_close(held.loose, torch.tensor([expected]))
        assert held.mask.tolist() == [0.0, -torch.inf]
        assert int(held.count) == n + 1


@pytest.mark.parametrize(
    ("duration", "steps"), [("5st", [5]), ("7st", [5, 7]), ("1.5ep", [5, 8]), ("3st", [3]), ("2ep", [5, 10])]
)
def test_a_duration_may_end_inside_an_epoch(duration: str, steps: list[int]) -> None:
    _, result = train(duration=duration)
    assert [row.step for row in result.rows] == steps
    assert [row.epoch for row in result.rows] == [*range(1, len(steps) + 1)]
    assert result.steps == steps[-1]


def test_rows_say_what_was_done() -> None:
    spec = spec_of(warmup="2st")
    _, result = train(warmup="2st")
    assert [row.lr for row in result.rows] == [lr_at(s, spec, total=15, per_epoch=5) for s in (4, 9, 14)]
    for row in result.rows:
        assert 0 <= row.train_acc <= 100
        assert row.images_per_second > 0
    assert result.rows[-1].train_loss < result.rows[0].train_loss


def test_listeners_hear_everything_in_order() -> None:
    events: list[Event] = []
    train(duration="2ep", listeners=[events.append])
    kinds = [type(e) for e in events]
    assert kinds == [Started, *[StepEnded] * 5, EpochEnded, *[StepEnded] * 5, EpochEnded]
    start = events[0]
    assert isinstance(start, Started)
    assert (start.steps, start.steps_per_epoch, start.first_step, start.processes) == (10, 5, 0, 1)
    assert (start.device, start.precision) == ("cpu", "fp32")
    steps = [e for e in events if isinstance(e, StepEnded)]
    assert [(e.epoch, e.step) for e in steps] == [(1 + n // 5, n + 1) for n in range(10)]
    assert steps[-1].seconds_left == 0
    ended = events[-1]
    assert isinstance(ended, EpochEnded)
    assert (steps[-1].loss, steps[-1].accuracy) == (ended.row.train_loss, ended.row.train_acc)


@pytest.mark.parametrize(
    "give", [lambda: batches(), lambda: DataLoader(tensors(), batch_size=8, shuffle=True, drop_last=True)]
)
def test_any_sized_loader_will_do(give: Any) -> None:
    first, second = (fit(small_vit(), give(), spec_of(duration="2ep")) for _ in range(2))
    assert numbers(first)[0][:4] == numbers(second)[0][:4]
    assert first.rows[1].train_loss == second.rows[1].train_loss
    assert math.isnan(first.rows[0].val_loss)


def test_a_torch_loader_shuffles_anew_each_epoch() -> None:
    seen: list[list[int]] = []

    def note(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        seen.append(labels.tolist())
        return images, labels

    fit(small_vit(), DataLoader(tensors(), batch_size=8, shuffle=True), spec_of(duration="2ep"), augment=note)
    assert len(seen) == 10
    assert seen[:5] != seen[5:]


def test_what_has_no_length_or_nothing_in_it_is_refused() -> None:
    with pytest.raises(DataError, match="the batches have no length; give a DataLoader or a list"):
        fit(small_vit(), (b for b in batches()), spec_of())
    with pytest.raises(DataError, match="there are 0 batches, too few for one step of 1; give more images"):
        fit(small_vit(), [], spec_of())
    with pytest.raises(DataError, match="there are 5 batches, too few for one step of 8"):
        fit(small_vit(), batches(), spec_of(accumulate=8))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_module_and_the_callers_chance_are_left_as_found(precision: str) -> None:
    model = small_vit(dropout=0.1)
    model.eval()
    data = batches()
    forward, modes = model.forward, [m.training for m in model.modules()]
    torch.manual_seed(5)
    np.random.seed(5)
    expected = torch.rand(3), np.random.rand()
    torch.manual_seed(5)
    np.random.seed(5)
    fit(model, data, spec_of(duration="1ep", precision=precision))
    assert torch.equal(torch.rand(3), expected[0])
    assert np.random.rand() == expected[1]
    assert model.forward == forward
    assert [m.training for m in model.modules()] == modes
    assert model(data[0][0]).dtype == torch.float32
    copy.deepcopy(model)


def test_the_callers_chance_is_left_as_found_after_an_error_too() -> None:
    model, data = small_vit().eval(), batches()
    before = torch.get_rng_state()
    with pytest.raises(NonFiniteLossError):
        fit(model, data, spec_of(), loss_fn=lambda scores, targets: scores.sum() * math.nan)
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(m.training for m in model.modules())


@pytest.mark.usefixtures("bf16_is_quick")
def test_bf16_trains_and_stores_fp32(tmp_path: Path) -> None:
    model, result = train(tmp_path / "run", precision="bf16")
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert numbers(result) != numbers(train()[1])
    assert result.rows[-1].train_loss < result.rows[0].train_loss


def test_fp16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ConfigError, match="precision fp16 does not work on a CPU; use bf16 or fp32"):
        spec_of(precision="fp16")
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        with pytest.raises(ConfigError, match="fp16 does not work on a CPU; use bf16 or fp32"):
            train(precision="fp16", device="auto")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"train.device is 'cuda', but this torch sees no such device; use 'auto' or 'cpu'"
    ):
        train(device="cuda")


class Breaks:
    """A loss that stops being a number at one step."""

    def __init__(self, at: int, value: float) -> None:
        self.at, self.value, self.calls = at, value, 0

    def __call__(self, scores: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        loss = F.cross_entropy(scores, targets)
        return loss * self.value if self.calls == self.at else loss


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_batch_that_is_no_number_does_not_cost_the_weights(precision: str) -> None:
    model, spec = small_vit(), spec_of(precision=precision)
    with pytest.raises(NonFiniteLossError):
        fit(model, loader(spec), spec, prepare=pixels, loss_fn=Breaks(3, math.nan))
    assert all(bool(torch.isfinite(p).all()) for p in model.parameters())


def broken(folder: RunFolder | None, at: int, value: float = math.nan, **settings: Any) -> str:
    spec = spec_of(schedule="constant", lr=0.003, **settings)
    with pytest.raises(NonFiniteLossError) as error:
        fit(
            small_vit(),
            loader(spec),
            spec,
            augment=noisy,
            prepare=pixels,
            loss_fn=Breaks(at, value),
            folder=folder,
            identity=SHADES,
        )
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_loss_that_is_no_number_says_where_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run")
    message = broken(folder, at=9, checkpoint_every="1st")
    norm = message.partition("last finite gradient norm ")[2].partition(";")[0]
    assert 0 < float(norm) < 100
    assert message == (
        "the loss became nan at step 9 (epoch 2): learning rate 0.003, gradient not finite in 32 of 32 parameters (first patch_embedding.1.weight), "
        f"last finite gradient norm {norm}; the last good checkpoint is kept in {folder.checkpoint}; lower train.lr, add train.warmup or "
        "set train.gradient_clip"
    )
    assert folder.state().to_dict() == {"status": "failed", "epochs": 1}
    found = load_checkpoint(folder.checkpoint, SHADES)
    assert found is not None
    progress, parts = found
    assert progress.step == 8
    assert all(torch.isfinite(t).all() for t in parts["model"].values())
    assert len(read_metrics(folder.metrics)) == 1


def test_an_infinite_loss_before_any_checkpoint(tmp_path: Path) -> None:
    message = broken(RunFolder.create(tmp_path), at=2, value=math.inf)
    assert message.startswith(
        "the loss became infinite at step 2 (epoch 1): learning rate 0.003, gradient not finite in "
    )
    assert "; no checkpoint was written yet; " in message
    assert "no checkpoint was written yet" in broken(None, at=2)


def test_a_gradient_that_is_no_number_is_never_saved(tmp_path: Path) -> None:
    """The loss of the step is a number, but the weights behind it are none: the checkpoint of that step must not be written."""
    folder, spec, calls = RunFolder.create(tmp_path), spec_of(checkpoint_every="1st"), []

    def loss(scores: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        kink = (scores - scores.detach()).square().sum().sqrt() if len(calls) == 4 else 0.0  # 0, with gradient nan
        return F.cross_entropy(scores, targets) + kink

    with pytest.raises(NonFiniteLossError, match="the gradient became nan at step 4 "):
        fit(small_vit(), loader(spec), spec, augment=noisy, loss_fn=loss, folder=folder)
    found = load_checkpoint(folder.checkpoint, {})
    assert found is not None
    assert found[0].step == 3
    assert all(torch.isfinite(t).all() for t in found[1]["model"].values())


def test_what_a_device_has_not_told_yet_is_asked_for_before_it_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the loss is looked at seldom; a checkpoint that falls between two looks must still be good."""
    monkeypatch.setattr(machines.Machine, "may_synchronise", lambda self, step: False)
    folder = RunFolder.create(tmp_path)
    assert broken(folder, at=2, checkpoint_every="3st").startswith("the loss became nan at step 2 ")
    assert not (folder.checkpoint / "state.pt").exists()


def test_a_validation_loss_that_is_no_number_stops_too(tmp_path: Path) -> None:
    class BadWhenMeasured(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)) * (1 if self.training else math.nan)

    with pytest.raises(NonFiniteLossError, match=r"the validation loss became nan at step 5 \(epoch 1\)"):
        fit(BadWhenMeasured(64, CLASSES), batches(), spec_of(), val_batches=batches())


def test_soft_targets_and_any_module() -> None:
    def soft(images: Tensor, labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return images, F.one_hot(labels, CLASSES).float() * 0.9 + 0.1 / CLASSES

    model = nn.Sequential(nn.Flatten(), nn.Linear(64, CLASSES))
    result = fit(model, batches(), spec_of(), augment=soft)
    assert result.rows[-1].train_acc > result.rows[0].train_acc


def test_the_largest_gradient_is_named() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert largest_gradient(model) == "no gradient yet"
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    model[1].weight.grad[0, 1] = -30.0  # type: ignore[index]
    assert largest_gradient(model) == "largest gradient 30 (1.weight)"
    model[0].bias.grad[0] = math.inf  # type: ignore[index]
    assert largest_gradient(model) == "gradient not finite in 1 of 4 parameters (first 0.bias)"


def test_a_diverging_validation_tells_the_largest_gradient() -> None:
    class BadWhenMeasured(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.flatten(1)) * (1 if self.training else math.inf)

    with pytest.raises(
        NonFiniteLossError, match=r"largest gradient [\d.e+-]+ \((weight|bias)\), last finite gradient norm"
    ):
        fit(BadWhenMeasured(64, CLASSES), batches(), spec_of(), val_batches=batches())


def test_weight_decay_shrinks_matrices_and_nothing_else() -> None:
    def moved(decay: float) -> dict[str, Tensor]:
        model = small_vit()
        fit(model, batches(), spec_of(duration="1st", schedule="constant", lr=1e-3, weight_decay=decay))
        return dict(model.state_dict())

    start, plain, shrunk = small_vit().state_dict(), moved(0.0), moved(0.5)
    for name, value in plain.items():
        decays = name.endswith("weight") and "norm" not in name
        torch.testing.assert_close(shrunk[name], value - 1e-3 * 0.5 * start[name] * decays, rtol=0, atol=1e-7)


@pytest.mark.usefixtures("bf16_is_quick")
def test_a_second_training_of_a_module_has_its_mixed_precision_too() -> None:
    seen: list[torch.dtype] = []
    model = small_vit()
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    for precision in ("bf16", "fp32", "bf16"):
        fit(model, batches(), spec_of(duration="1st", precision=precision))
    assert seen == [torch.bfloat16, torch.float32, torch.bfloat16]


def test_a_module_is_handed_back_whole_also_when_nothing_was_trained(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path)
    fit(small_vit(), batches(), spec_of(duration="1ep"), folder=folder)
    other = small_vit(dim=32)
    before = set(vars(other))
    with pytest.raises(CheckpointError, match=r"does not fit this model and its training settings \("):
        fit(other, batches(), spec_of(duration="1ep", precision="bf16"), folder=folder, resume=True)
    assert set(vars(other)) == before


@pytest.mark.parametrize(("asked", "mode"), [(True, None), ("reduce-overhead", "reduce-overhead")])
def test_a_module_is_compiled_as_asked_and_handed_back_uncompiled(
    monkeypatch: pytest.MonkeyPatch, asked: bool | str, mode: str | None
) -> None:
    modes: list[str | None] = []

    def instead(function: Any, **settings: Any) -> Any:  # the real one takes minutes
        modes.append(settings["mode"])
        return function

    monkeypatch.setattr(torch, "compile", instead)
    model = small_vit()
    heard: list[Any] = []
    fit(model, batches(), spec_of(duration="1st", compile=asked), listeners=[heard.append])
    assert modes == [mode]
    assert model._compiled_call_impl is None
    said = next(event for event in heard if isinstance(event, Started)).fast.en
    assert said.endswith("torch.compile" if mode is None else "torch.compile (reduce-overhead)")


def test_a_mode_that_torch_does_not_have_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match=r"compile is 'fastest', expected true, false or a mode of torch.compile: reduce-overhead, max-autotune",
    ):
        spec_of(compile="fastest")


@pytest.mark.parametrize(("drop_last", "steps"), [(True, 6), (False, 7)])
def test_the_last_batch_of_an_epoch_may_be_a_smaller_one(drop_last: bool, steps: int) -> None:
    shades = BatchLoader(table(), batch_size=6, shuffle=True, drop_last=drop_last)
    assert fit(small_vit(), shades, spec_of(duration="1ep"), augment=noisy).steps == steps


@pytest.mark.parametrize("count", [4, 5, 7])
def test_processes_share_any_loader(count: int) -> None:
    whole = [(torch.tensor([i]), torch.tensor([i])) for i in range(count)]

    def of(rank: int, *, even: bool) -> list[int]:
        share = EveryNth(whole, rank, 2, even=even)
        held = [int(labels) for _, labels in share]
        assert len(held) == len(share)
        return held

    assert sorted(of(0, even=False) + of(1, even=False)) == list(range(count))
    assert len(of(0, even=True)) == len(of(1, even=True)) == count // 2
    assert set(of(0, even=True)).isdisjoint(of(1, even=True))


def test_frozen_parameters_stay() -> None:
    model = small_vit()
    model.head.weight.requires_grad_(False)
    frozen = model.head.weight.clone()
    fit(model, batches(), spec_of(duration="3st"))
    assert torch.equal(model.head.weight, frozen)


def test_metrics_do_not_depend_on_the_evaluation_batch() -> None:
    spec = spec_of(duration="1ep")
    losses = []
    for size in (1, 4, 13):
        from vitscope.data import BatchLoader

        val = BatchLoader(table(13, seed=1), batch_size=size, shuffle=False)
        row = fit(small_vit(), loader(spec), spec, val_batches=val, augment=noisy, prepare=pixels).rows[0]
        losses.append((row.val_loss, row.val_acc))
    assert losses[0][1] == losses[1][1] == losses[2][1]
    assert losses[0][0] == pytest.approx(losses[2][0], rel=1e-5)


def test_a_missing_tracker_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines, "find_spec", lambda name: None)
    with pytest.raises(ConfigError) as error:
        train(tmp_path / "run", trackers=("tensorboard",))
    assert str(error.value) == (
        "train.trackers asks for tensorboard, which is not installed; run: pip install 'vitscope[tensorboard]'"
    )


def test_trackers_need_a_folder() -> None:
    pytest.importorskip("tensorboard")
    with pytest.raises(ConfigError, match=r"train.trackers needs a run folder to write to"):
        train(trackers=("tensorboard",))


def test_tensorboard_gets_every_epoch(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, result = train(tmp_path / "run", trackers=("tensorboard",), duration="2ep")
    files = list((tmp_path / "run").rglob("events.out.tfevents*"))
    assert files
    read = EventAccumulator(str(files[0].parent))
    read.Reload()
    assert [e.step for e in read.Scalars("val_acc")] == [5, 10]
    assert [e.value for e in read.Scalars("val_acc")] == pytest.approx([row.val_acc for row in result.rows], rel=1e-6)
