"""How to train, as settings: in goes a recipe's `train:` part, out comes a validated `TrainSpec`. No torch here."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from vitscope._core.spec import Spec
from vitscope.train.duration import AnyDuration, Duration, TrainingDuration

Beta = Annotated[float, Field(ge=0, lt=1)]
Tracker = Literal["tensorboard", "wandb"]
COMPILE_MODES = ("reduce-overhead", "max-autotune")


def _compiled(value: object) -> object:
    if isinstance(value, bool) or value in COMPILE_MODES:
        return value
    raise PydanticCustomError("compile", "expected true, false or a mode of torch.compile: " + ", ".join(COMPILE_MODES))


Compiled = Annotated[bool | str, BeforeValidator(_compiled)]


class TrainSpec(Spec):
    """Everything that `fit` needs to know beside the model and its data."""

    duration: TrainingDuration = Duration(10.0, "ep")
    """How long: `10ep` or `500st`."""
    batch_size: Annotated[int, Field(gt=0)] = 128
    """Images in one optimizer step, over all processes and accumulated parts: the same recipe is the same training on any machine."""
    drop_last: bool = True
    """Whether the images that fill no whole batch at an epoch's end are left out; else the last batch is a smaller one."""
    accumulate: Annotated[int, Field(gt=0)] = 1
    """Parts that a batch is cut into, one backward pass each, to save memory."""
    eval_batch_size: Annotated[int, Field(gt=0)] = 250
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Start values, data order, augmentation and dropout all follow from it."""

    optimizer: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), Adam (Kingma and Ba 2015, arXiv 1412.6980), SGD with momentum, or Muon
    (Jordan et al. 2024) for the hidden matrices with AdamW for the rest."""
    lr: Annotated[float, Field(gt=0)] = 1e-3
    """Peak learning rate. Muon's updates are scaled to AdamW's size (Liu et al. 2025, arXiv 2502.16982, section 2.2): one rate serves both."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    """On matrices and convolutions only; never on norms, biases, positions, class token. With AdamW and Muon it is decoupled; with Adam
    and SGD it is torch's, added to the gradient (L2), where it acts otherwise: set 0 there unless you mean it."""
    betas: tuple[Beta, Beta] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    momentum: Beta = 0.9
    """Of SGD (Nesterov's)."""
    muon_momentum: Beta = 0.95

    schedule: Literal["cosine", "linear", "constant", "step"] = "cosine"
    """What the learning rate does after the warm-up (cosine: Loshchilov and Hutter 2017, arXiv 1608.03983)."""
    schedule_unit: Literal["step", "epoch"] = "step"
    """Whether the rate changes with every step or only between epochs."""
    warmup: AnyDuration = Duration(0.0, "st")
    """Linear rise from (almost) 0 to `lr`."""
    final_lr: Annotated[float, Field(ge=0, le=1)] = 0.0
    """What cosine and linear end at, as a part of `lr`."""
    step_every: AnyDuration = Duration(30.0, "%")
    """`step` multiplies the rate by `step_factor` each time this has passed."""
    step_factor: Annotated[float, Field(gt=0, le=1)] = 0.1

    gradient_clip: Annotated[float, Field(gt=0)] | None = None
    """Largest norm of the whole gradient."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Szegedy et al. 2016, arXiv 1512.00567, section 7."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the running mean of the weights; with it, the mean is what is measured and saved."""

    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the matrix products; weights and optimizer state are fp32. fp16 needs a GPU."""
    fast: bool = True
    """Whether what is quickest on this machine is chosen: bf16 weights with fp32 masters instead of autocast, and memory kept between
    steps. The same training but for rounding and what dropout draws; a line at the start says what was chosen."""
    compile: Compiled = False
    """torch.compile the model, if asked for in one of torch's modes: `reduce-overhead` runs a GPU's steps as CUDA graphs."""
    checkpoint_every: AnyDuration = Duration(1.0, "ep")
    """How often all that a resume needs is saved; an epoch's end always is."""
    trackers: tuple[Tracker, ...] = ()
    """Where metrics go beside `metrics.csv`."""

    @model_validator(mode="after")
    def _fits_together(self) -> TrainSpec:
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} does not divide into {self.accumulate} accumulated parts")
        for name in ("step_every", "checkpoint_every"):
            if getattr(self, name).amount <= 0:
                raise ValueError(f"{name} is '{getattr(self, name)}', expected more than nothing")
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision fp16 does not work on a CPU; use bf16 or fp32")
        return self
