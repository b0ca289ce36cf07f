"""All checks of a loop by their ids, causes before what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vitscope.doctor.finding import Finding
from vitscope.doctor.loop.data import data
from vitscope.doctor.loop.gradients import gradients
from vitscope.doctor.loop.loss import loss
from vitscope.doctor.loop.modes import modes
from vitscope.doctor.loop.parameters import parameters
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.schedule import schedule
from vitscope.doctor.loop.settings import settings

LoopCheck = Callable[[Record], Iterator[Finding]]
LOOP_CHECKS: dict[str, LoopCheck] = {
    "loop-parameters": parameters,
    "loop-gradients": gradients,
    "loop-loss": loss,
    "loop-modes": modes,
    "loop-schedule": schedule,
    "loop-settings": settings,
    "loop-data": data,
}
