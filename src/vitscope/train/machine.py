"""What a training runs on: device, precision, processes, trackers, all Accelerate's. The only file that imports it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, DistributedType
from torch import nn

from vitscope._core.errors import ConfigError
from vitscope.runs.folder import RunFolder
from vitscope.train.fast import FastPath, choose_fast_path
from vitscope.train.memory import freed_memory_kept
from vitscope.train.precision import quick_precision
from vitscope.train.spec import TrainSpec

TELL_EVERY = 20  # steps between two looks at the loss where looking makes the device wait


@dataclass(frozen=True)
class Machine:
    """The device, the processes, and Accelerate behind them."""

    accelerator: Accelerator
    tracked: bool
    fast: FastPath
    precision: str = "fp32"
    """What it computes in, which may be another than was asked for."""

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def processes(self) -> int:
        return self.accelerator.num_processes

    @property
    def rank(self) -> int:
        return self.accelerator.process_index

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and tells."""
        return self.accelerator.is_main_process

    def may_synchronise(self, step: int) -> bool:
        """Whether the host may ask for a number now: always on a CPU, seldom where that would make the device wait."""
        return self.device.type == "cpu" or step % TELL_EVERY == 0

    def may_ask_others(self, step: int) -> bool:
        """Whether the processes may now agree on something: alone always, else as seldom as the host may ask for a number."""
        return self.processes == 1 or self.may_synchronise(step)

    def any_process(self, flag: bool) -> bool:
        """Whether the flag is up in any process."""
        if self.processes == 1:
            return flag
        if flag:
            self.accelerator.set_trigger()
        return bool(self.accelerator.check_trigger())

    def sum_over_processes(self, values: Sequence[float]) -> list[float]:
        """Adds up what each process has, number by number."""
        if self.processes == 1:
            return list(values)
        return self.accelerator.reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum").tolist()

    def of_all_processes(self, values: Sequence[float]) -> list[list[float]]:
        """What each process has, by rank."""
        if self.processes == 1:
            return [list(values)]
        mine = torch.tensor([list(values)], dtype=torch.float64, device=self.device)
        return self.accelerator.gather(mine).tolist()

    def track(self, values: dict[str, Any], step: int) -> None:
        """Hands numbers to the trackers that were asked for."""
        if self.tracked:
            self.accelerator.log(values, step=step)


def check_machine(spec: TrainSpec) -> None:
    """Finds out before anything is written whether this machine can do what a spec asks.

    Raises:
        ConfigError: the device or a tracker is not there, or fp16 is asked for without an accelerator.
    """
    available = {"auto": True, "cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[spec.device]:
        raise ConfigError(f"train.device is '{spec.device}', but this torch sees no such device; use 'auto' or 'cpu'")
    for tracker in spec.trackers:
        if find_spec(tracker) is None:
            raise ConfigError(
                f"train.trackers asks for {tracker}, which is not installed; run: pip install 'vitscope[{tracker}]'"
            )
    accelerated = spec.device != "cpu" and (available["cuda"] or available["mps"])
    if spec.precision == "fp16" and not accelerated:
        raise ConfigError("train.precision fp16 does not work on a CPU; use bf16 or fp32")


def _accelerator() -> torch.device:
    found = torch.accelerator.current_accelerator()
    return torch.device("cpu") if found is None else found


@contextmanager
def open_machine(model: nn.Module, spec: TrainSpec, folder: RunFolder | None) -> Iterator[Machine]:
    """Sets Accelerate up for one training, and down again, so that the next may ask for another precision or device.

    Raises:
        ConfigError: the device or a tracker is not there, or fp16 is asked for on a CPU.
    """
    check_machine(spec)
    if spec.trackers and folder is None:
        raise ConfigError("train.trackers needs a run folder to write to; give one or leave the trackers out")
    AcceleratorState._reset_state(reset_partial_state=True)
    on_cpu = spec.device == "cpu" or not torch.accelerator.is_available()
    device = torch.device("cpu") if on_cpu else _accelerator()
    here, changed = quick_precision(spec, device)
    fast = choose_fast_path(model, here, device, changed)
    accelerator = Accelerator(
        cpu=on_cpu,
        mixed_precision="no" if fast.masters or here.precision == "fp32" else here.precision,
        gradient_accumulation_steps=spec.accumulate,
        log_with=list(spec.trackers) or None,
        project_dir=str(folder.path) if folder is not None else None,
        # a layer that is never called is a fault to learn about, not a reason for several processes to fail
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED, DistributedType.MEGATRON_LM):
        raise ConfigError(
            f"accelerate is set up for {accelerator.distributed_type.value}, which splits a model among processes and is not supported; "
            "use plain data parallel processes (accelerate launch --multi_gpu, or torchrun)"
        )
    try:
        if spec.trackers:
            accelerator.init_trackers("vitscope", config={k: str(v) for k, v in spec.to_dict().items()})
        with freed_memory_kept() if spec.fast and on_cpu else nullcontext():
            yield Machine(accelerator, bool(spec.trackers), fast, here.precision)
    finally:
        if spec.trackers:
            accelerator.end_training()
        accelerator.free_memory()
        AcceleratorState._reset_state(reset_partial_state=accelerator.num_processes == 1)
