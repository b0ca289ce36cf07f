"""A training step asks the device for no number: on a GPU each such question makes host and device wait for each other.

There is no GPU to ask here, so the steps run on torch's meta device, where tensors have shapes and no values: whatever asks for one raises.
Sending the device something makes the host wait too, unless it is told not to; that is looked for in each call.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from train_samples import IMAGES, loader, small_vit, spec_of, table

from vitscope._core.text import Text
from vitscope.augment import Augmentation, AugmentSpec
from vitscope.data import BatchLoader
from vitscope.train.fast import FastPath
from vitscope.train.feed import kept_on_device
from vitscope.train.machine import Machine
from vitscope.train.session import Session
from vitscope.train.spec import TrainSpec

META = torch.device("meta")
EVERYTHING: dict[str, Any] = {
    "rand_augment": {"n": 2, "m": 14},
    "crop": 1,
    "flip": True,
    "colour_jitter": 0.3,
    "random_erasing": 0.5,
    "mixup": 0.2,
    "cutmix": 1.0,
}


class OneProcess(Accelerator):
    """Accelerate's part in a step of one process, without its device."""

    device, num_processes, process_index, is_main_process = META, 1, 0, True
    scaler, sync_gradients = None, True

    def __init__(self) -> None:
        pass

    def prepare(self, *parts: Any) -> tuple[Any, ...]:
        return parts

    def accumulate(self, _: nn.Module) -> AbstractContextManager[None]:
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def clip_grad_norm_(self, parameters: Any, limit: float) -> Tensor:
        return nn.utils.clip_grad_norm_(parameters, limit)


class NothingSentAndWaitedFor(TorchFunctionMode):
    """Refuses what would send the device something and wait until it is there."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = func(*args, **kwargs)
        tensors = [part for part in args if isinstance(part, Tensor)]
        there, here = (any((t.device == META) is side for t in tensors) for side in (True, False))
        makes = func in (torch.tensor, torch.as_tensor, Tensor.new_tensor) and given.device == META
        moves = func is Tensor.to and here and given.device == META and not kwargs.get("non_blocking")
        fills = func in (Tensor.copy_, Tensor.__setitem__, Tensor.type_as) and there and here
        chooses = func in (torch.where, Tensor.where) and there and not all(isinstance(part, Tensor) for part in args)
        if makes or moves or fills or chooses:
            raise RuntimeError(f"{func} sends and waits")
        return given


def session_on_meta(spec: TrainSpec, augment: dict[str, Any], *, masters: bool, **switches: Any) -> Session:
    machine = Machine(OneProcess(), False, FastPath(masters, Text("", "")))
    session = Session(small_vit(**switches), loader(spec, table(3 * spec.batch_size)), spec, machine, None, {}, [])
    session.loss_fn = nn.functional.cross_entropy
    session.augment = Augmentation(AugmentSpec.parse(augment), 4, normalise=lambda images: images.float() / 255)
    return session


def steps_of(session: Session) -> int:
    """Takes all steps; in the first, numbers that all steps share may be sent."""
    for images, labels in session.batches:
        with NothingSentAndWaitedFor() if session.progress.step else nullcontext():
            given = session.train_batch(images, labels, 0.1)
        assert (given.device, given.shape) == (META, (3,))
        session.progress.step += 1
    return session.progress.step


@pytest.mark.parametrize("masters", [False, True])
@pytest.mark.parametrize(
    ("settings", "augment", "switches"),
    [
        ({}, {}, {}),
        ({"optimizer": "muon", "ema": 0.9, "gradient_clip": 1.0}, EVERYTHING, {}),
        ({"optimizer": "sgd"}, {"random_resized_crop": [0.5, 1.0], "flip": True}, {"dropout": 0.1}),
        ({}, {}, {"pooling": "mean", "position": "sincos", "patch_dropout": 0.5, "stochastic_depth": 0.2}),
        ({}, {}, {"position": "rotary", "registers": 2, "layer_scale": 0.1, "qk_norm": True, "dropout": 0.1}),
    ],
    ids=["plain", "muon, mean, everything", "sgd", "patch dropout", "rotary"],
)
def test_a_step_asks_the_device_for_nothing(
    settings: dict[str, Any], augment: dict[str, Any], switches: dict[str, Any], masters: bool
) -> None:
    spec = spec_of(batch_size=64, **settings)  # each of RandAugment's sixteen has its images in each of the steps
    assert steps_of(session_on_meta(spec, augment, masters=masters, **switches)) == 3


def test_batches_that_are_kept_on_the_device_are_put_together_without_waiting() -> None:
    batches = iter(loader(spec_of()).on_device(META))
    next(batches)  # behind which the epoch's order is there
    with NothingSentAndWaitedFor():
        others = list(batches)
    assert len(others) == 4
    assert all(images.device == labels.device == META for images, labels in others)


def test_images_are_kept_on_a_gpu_that_has_room_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    class OnCuda(OneProcess):
        device = torch.device("cuda", 0)

    batches, gpu = loader(spec_of()), Machine(OnCuda(), False, FastPath(False, Text("", "")))
    needed, there = IMAGES * 8 * 8, list(batches)
    monkeypatch.setattr(BatchLoader, "on_device", lambda self, device: there if device == gpu.device else None)
    for free, is_kept in ((4 * needed, True), (4 * needed - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 10 * free))
        given, said = kept_on_device(batches, gpu)
        assert given is (there if is_kept else batches)
        assert (said is not None and "training images kept on cuda:0 (0 MiB)" in said.en) is is_kept
    assert kept_on_device([], gpu) == ([], None)  # a list cannot
    assert kept_on_device(batches, Machine(OneProcess(), False, FastPath(False, Text("", "")))) == (batches, None)


def _asks(name: str) -> Callable[[Tensor], Any]:
    here = torch.zeros(1)
    return {
        "where": lambda x: torch.where(x > 0, 1.0, x),
        "new": lambda x: x.new_tensor([1.0]),
        "fill": lambda x: torch.empty_like(x[None]).copy_(here),
        "set": lambda x: x[None].detach().clone().__setitem__(0, here[0]),
        "type": lambda x: here.type_as(x),
        "item": lambda x: x.item(),
        "copy": lambda x: x.to("cpu"),
        "nonzero": lambda x: x.nonzero(),
        "send": lambda x: torch.tensor([1.0], device=x.device),
        "move": lambda x: torch.zeros(1).to(x.device),
    }[name]


@pytest.mark.parametrize("how", ["where", "new", "fill", "set", "type", "item", "copy", "nonzero", "send", "move"])
def test_a_step_that_asked_would_be_found_out(how: str) -> None:
    session = session_on_meta(spec_of(), {}, masters=False)

    def loss(scores: Tensor, targets: Tensor) -> Tensor:
        _asks(how)(scores.sum())
        return nn.functional.cross_entropy(scores, targets)

    session.loss_fn = loss
    with pytest.raises((RuntimeError, NotImplementedError)):
        steps_of(session)
