"""A loss that is no number stops the training at once, with what a person needs to find the reason."""

from __future__ import annotations

import math

from torch import Tensor

from vitscope._core.errors import NonFiniteLossError
from vitscope.runs.folder import RunFolder
from vitscope.train.checkpoint import STATE_FILE, Progress


def refuse_non_finite(
    progress: Progress,
    lr: float,
    gradient_norm: Tensor,
    folder: RunFolder | None,
    *,
    value: float | None = None,
    what: str = "loss",
) -> None:
    """Checks the epoch's summed loss, or the value given.

    Raises:
        NonFiniteLossError: it is NaN or infinite.
    """
    value = progress.sums[0] if value is None else value
    if math.isfinite(value):
        return
    kept = "no checkpoint was written yet"
    if folder is not None:
        folder.write_state("failed", progress.epoch)
        if (folder.checkpoint / STATE_FILE).exists():
            kept = f"the last good checkpoint is kept in {folder.checkpoint}"
    raise NonFiniteLossError(
        f"the {what} became {'nan' if math.isnan(value) else 'infinite'} at step {progress.step} (epoch {progress.epoch + 1}): learning rate "
        f"{lr:.3g}, gradient norm {float(gradient_norm):.3g}; {kept}; lower train.lr, add train.warmup or set train.gradient_clip"
    )
