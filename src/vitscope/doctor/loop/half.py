"""Half precision without a scaled loss. In goes the record of a loop, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.record import Record

NO_SCALER = Fault(
    "fp16-without-a-scaler",
    "L9",
    "loop-loss",
    "warning",
    Text(
        "Half-precision numbers end near 6e-8: smaller gradients become exactly zero, and the weights behind them stop learning.",
        "半精度（fp16）で表せるのは6e-8程度までです。それより小さい勾配はちょうどゼロになり、該当する重みは学習しなくなります。",
    ),
    Text(
        "use torch.amp.GradScaler, or bfloat16, which needs none",
        "torch.amp.GradScalerを使うか、スケーラー不要のbfloat16にしてください",
    ),
    "scaler.scale(loss).backward()\nscaler.step(optimizer)\nscaler.update()",
)


def no_scaler(record: Record) -> Iterator[Finding]:
    """fp16, by autocast or by the parameters' own precision, and nobody scales the loss."""
    learning = [each for each in record.forwards if each.grad and each.reaches]
    half = [each for each in learning if each.precision == torch.float16]
    pure = sum(p.dtype == torch.float16 for p in record.model.parameters() if p.requires_grad)
    by_hand = any(fit.size > 4 for fit in record.fits if fit.is_cross_entropy)
    if record.saw_scaler or by_hand or not (pure or len(half) > 0.5 * len(learning)) or len(learning) < 3:
        return
    zeros = [step.zeros for step in record.steps if step.zeros is not None and not step.empty]
    share = median(zeros) if zeros else 0.0
    shown = Text("", "")
    if share >= 1e-3:  # fewer are no evidence: some gradients are zero in any precision
        shown = Text(
            f": {100 * share:.1f} % of the gradients' numbers are exactly zero at the steps",
            f"ステップ時、勾配の値の{100 * share:.1f} %がちょうどゼロです。",
        )
    yield NO_SCALER.found(
        Text(
            f"The forward runs in float16 and the loss is not scaled{shown.en}.",
            f"順伝播がfloat16で行われているのに、損失がスケーリングされていません。{shown.ja}",
        ),
        {"share_of_exact_zeros": share, "forwards_in_float16": len(half), "parameters_in_float16": pure},
    )
