"""A loss that is no number stops the training at once, with what a person needs to find the reason."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vitscope._core.errors import NonFiniteLossError
from vitscope.runs.folder import RunFolder
from vitscope.train.checkpoint import STATE_FILE, Progress

SMALLEST_SCALE = 2.0**-10
"""Of fp16's loss scaling. It is halved at each step whose gradient is no number; below this there is none that works."""


class Watch:
    """Notes the first step whose loss or gradient is no number, on the device: asking for it is what makes the host wait."""

    def __init__(self, device: torch.device) -> None:
        self.first = torch.zeros(2, dtype=torch.int64, device=device)  # of the loss, of the gradient; 0: none yet
        self.last_norm = torch.zeros((), device=device)

    def note(self, step: int, loss: Tensor, gradient_norm: Tensor | None) -> None:
        """Takes down step `step` (from 1); without a norm only its loss."""
        norm = self.last_norm if gradient_norm is None else gradient_norm.detach().to(self.last_norm)
        fine = torch.isfinite(torch.stack([loss.detach().to(norm), norm]))
        self.first = self.first.masked_fill((self.first == 0) & ~fine, step)
        self.last_norm = torch.where(fine[1], norm, self.last_norm)

    def found(self) -> tuple[str, int] | None:
        """What became no number first (`loss` or `gradient`) and at which step, or None."""
        loss, gradient = self.first.tolist()
        if loss and (not gradient or loss <= gradient):
            return "loss", loss
        return ("gradient", gradient) if gradient else None


def refuse(
    what: str,
    value: float,
    *,
    step: int,
    lr: float,
    model: nn.Module,
    last_norm: float,
    progress: Progress,
    folder: RunFolder | None,
) -> None:
    """Ends a training whose loss, gradient or validation loss is no number; only the process with a folder notes it there.

    Raises:
        NonFiniteLossError: always.
    """
    kept = "no checkpoint was written yet"
    if folder is not None:
        folder.write_state("failed", progress.epoch)
        if (folder.checkpoint / STATE_FILE).exists():
            kept = f"the last good checkpoint is kept in {folder.checkpoint}"
    raise NonFiniteLossError(
        f"the {what} became {'infinite' if math.isinf(value) else 'nan'} at step {step} (epoch {progress.epoch + 1}): learning rate {lr:.3g}, "
        f"{largest_gradient(model)}, last finite gradient norm {last_norm:.3g}; {kept}; lower train.lr, add train.warmup or set train.gradient_clip"
    )


def largest_gradient(model: nn.Module) -> str:
    """The largest gradient that the last step left, by its parameter's name; or the first that is no number, and how many are none."""
    held = [(name, p.grad.detach().abs().max()) for name, p in model.named_parameters() if p.grad is not None]
    if not held:
        return "no gradient yet"
    largest = dict(zip((name for name, _ in held), torch.stack([g.float() for _, g in held]).tolist(), strict=True))
    broken = [name for name, value in largest.items() if not math.isfinite(value)]
    if broken:
        return f"gradient not finite in {len(broken)} of {len(largest)} parameters (first {broken[0]})"
    name = max(largest, key=lambda n: largest[n])
    return f"largest gradient {largest[name]:.3g} ({name})"
