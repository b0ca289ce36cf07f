"""Durations with units: `10ep` (epochs), `500st` (optimizer steps), `5%` (of the whole training). Text in, steps out. No torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, PlainSerializer

_FORM = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ep|st|%)\s*")


@dataclass(frozen=True)
class Duration:
    """An amount of training."""

    amount: float
    unit: Literal["ep", "st", "%"]

    def steps(self, *, per_epoch: int, total: int | None = None) -> int:
        """How many optimizer steps that is, rounded up.

        Args:
            per_epoch: optimizer steps in one epoch.
            total: optimizer steps of the whole training; needed for a percentage.
        """
        if self.unit == "ep":
            return math.ceil(self.amount * per_epoch - 1e-9)
        if self.unit == "st":
            return math.ceil(self.amount)
        if total is None:
            raise ValueError("a percentage needs something to be a part of; use ep or st")
        return math.ceil(self.amount / 100 * total - 1e-9)

    def __str__(self) -> str:
        return f"{self.amount:g}{self.unit}"


def _parse(value: Any) -> Any:
    if isinstance(value, Duration):
        return value
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(
            f"{value!r} is not a duration; write epochs as '10ep', steps as '500st', a part of the training as '5%'"
        )
    return Duration(float(match[1]), match[2])  # type: ignore[arg-type]


def _of_training(value: Duration) -> Duration:
    if value.unit == "%" or value.amount <= 0 or (value.unit == "st" and value.amount != int(value.amount)):
        raise ValueError(
            f"'{value}' cannot be the length of a training; write epochs as '10ep' or whole steps as '500st'"
        )
    return value


AnyDuration = Annotated[Duration, BeforeValidator(_parse), PlainSerializer(str, return_type=str)]
"""`10ep`, `500st` or `5%`."""
TrainingDuration = Annotated[
    Duration, BeforeValidator(lambda v: _of_training(_parse(v))), PlainSerializer(str, return_type=str)
]
"""`10ep` or `500st`."""
