"""A model without numbers: in goes a patient, out comes a copy on torch's meta device, whose forward costs nothing at any batch size.

Only shapes (and devices) flow through it. A forward that asks for a number (`.item()`, an `if` on values) fails there and says nothing of the
model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.doctor.copying import copied, moved
from vitscope.doctor.finding import Skipped
from vitscope.doctor.forward.squeezed import as_written
from vitscope.doctor.patient import Patient, scores_of

META = torch.device("meta")


def without_numbers(patient: Patient) -> nn.Module | None:
    """The copy; None where the model cannot run without numbers at a batch size at which it runs with them."""
    if "without_numbers" not in patient._known:
        twin: nn.Module | None = moved(copied(patient.model), META, None)
        patient._known["without_numbers"] = twin
        if failure(patient, patient.batch or 2, twin) is not None:
            twin = patient._known["without_numbers"] = None
    found = patient._known["without_numbers"]
    return found if isinstance(found, nn.Module) else None


def empty_images(patient: Patient, size: int) -> Tensor:
    """Images of which only the shape is known."""
    return torch.empty(size, *patient.images.shape[1:], dtype=patient.dtype, device=META)


@torch.no_grad()
def failure(patient: Patient, size: int, model: nn.Module | None, images: Tensor | None = None) -> Text | None:
    """What a model says that gives no scores for each of so many images (those without numbers, where none are given)."""
    if model is None:
        return Text("no model", "モデルなし")
    given = empty_images(patient, size) if images is None else images
    try:
        with one_by_one(), as_written(model):
            answer = model(given)
        scores_of(answer, size, patient.classes)
    except ModelError:
        shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
        return Text(f"batch size {size}: scores {shape}", f"バッチサイズ{size}でのスコアの形状は{shape}")
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {first_line(error).rstrip('.')}"
        return Text(said, said)
    return None


def refuse_not_finite(patient: Patient) -> None:
    """Nothing is compared where scores are no numbers: NaN differs from itself.

    Raises:
        Skipped: they are not.
    """
    if not bool(patient.answers.isfinite().all()):
        raise Skipped(
            Text(
                "the scores are NaN or infinite (see forward), so there is nothing to compare",
                "スコアがNaNまたは無限大のため（forwardを参照）、比較できません",
            )
        )


@contextmanager
def one_by_one() -> Iterator[None]:
    """torch's fused encoder layers, which are made for real devices, are off in the block."""
    is_fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fast)
