"""All checks by their ids, in the order in which they are run: cheap ones first, those that train last."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from vitscope.doctor.attention.check import attention
from vitscope.doctor.blocks.gradient import gradient
from vitscope.doctor.blocks.parameters import parameters
from vitscope.doctor.blocks.residual import residual
from vitscope.doctor.finding import Finding
from vitscope.doctor.forward.batch import batch_independence
from vitscope.doctor.forward.determinism import determinism
from vitscope.doctor.forward.output import output
from vitscope.doctor.forward.running import forward
from vitscope.doctor.learning.initial import initial_loss
from vitscope.doctor.learning.overfit import overfit
from vitscope.doctor.learning.rate import learning_rate
from vitscope.doctor.mixing.tokens import token_mixing
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.blindness import input_blindness
from vitscope.doctor.reading.coverage import pixel_coverage
from vitscope.doctor.reading.patches import patch_layout
from vitscope.doctor.reading.position import position

Check = Callable[[Patient], Iterator[Finding]]
CHECKS: dict[str, Check] = {
    "forward": forward,
    "determinism": determinism,
    "batch-independence": batch_independence,
    "input-blindness": input_blindness,
    "pixel-coverage": pixel_coverage,
    "patch-layout": patch_layout,
    "position": position,
    "token-mixing": token_mixing,
    "attention": attention,
    "residual": residual,
    "parameters": parameters,
    "gradient": gradient,
    "output": output,
    "initial-loss": initial_loss,
    "overfit": overfit,
    "learning-rate": learning_rate,
}
