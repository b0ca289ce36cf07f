"""Whether two patch embeddings are the same function: patients in, a sentence that shows it out. The weights of one are carried, pixel by pixel, into
the other's own operation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Skipped
from vitscope.doctor.patient import Patient
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.layout import MIXED
from vitscope.lens.operations import FUSED, PRODUCTS
from vitscope.lens.tape import Call
from vitscope.race.structure_texts import ALIKE, OTHER_ORDER, OTHER_PIXELS, OTHER_TOKENS, RESHAPED, filled, which

SAME = 1e-6
"""How far tokens may be apart, beside the largest number, to count as the same."""


@dataclass(frozen=True)
class Carried:
    """What came of it."""

    said: Text
    is_same: bool
    """Whether both give the same products for the same weights; where a reshape puts them is another part's matter."""


@torch.no_grad()
def carried(one: Patient, other: Patient) -> Carried | None:
    """Carries the first embedding's weights, pixel by pixel, into the second's own operation and compares the tokens that both give; says whether
    they are the same function, and where they are not, why. None where nothing could be carried."""
    try:
        weights = _weights_by_pixel(one)
        if weights is None or weights.shape != _shape_by_pixel(other):
            return None
        order = same_pixels(one, other)
        if order is None:
            return Carried(OTHER_PIXELS.format(pixels=len(weights)), False)
        ours, theirs = _tokens_with(one, weights), _tokens_with(other, weights[order])
    except (Skipped, LensError, RuntimeError, IndexError):
        return None
    error = _apart(ours, theirs)
    if error > SAME:
        is_in_another_order = _apart(ours, theirs[torch.cdist(ours, theirs).argmin(dim=1)]) <= SAME
        return Carried(OTHER_ORDER if is_in_another_order else OTHER_TOKENS.format(error=f"{error:.1g}"), False)
    if mixes(one) or mixes(other):
        return Carried(filled(RESHAPED, which=which(mixes(one), mixes(other))), True)
    pixels, width = weights.shape
    return Carried(ALIKE.format(pixels=pixels, width=width, error=f"{error:.0e}" if error else "0"), True)


def _apart(ours: Tensor, theirs: Tensor) -> float:
    return float((theirs - ours).abs().max() / ours.abs().max().clamp(min=1e-12))


def _weights_by_pixel(patient: Patient) -> Tensor | None:
    """The embedding's weights as numbers of a patch, in its own order, × width."""
    call = patient.anatomy.patch_embedding
    weight = weight_of(patient, call)
    if weight is None or patient.layout.pixels is None:
        return None
    return weight if call.name in PRODUCTS else weight.flatten(1).T


def _shape_by_pixel(patient: Patient) -> torch.Size | None:
    weights = _weights_by_pixel(patient)
    return None if weights is None else weights.shape


def mixes(patient: Patient) -> bool:
    """Whether pieces of several patches end in one token: a reshape where a transpose belongs."""
    return MIXED in patient.layout.patch_of_token


def same_pixels(one: Patient, other: Patient) -> Tensor | None:
    """Where in one's patch each number of the other's stands; None where they cut the image in other patches."""
    a, b = one.layout.pixels, other.layout.pixels
    if a is None or b is None or a.shape != b.shape:
        return None
    order = (b[0][:, None] == a[0][None]).long().argmax(dim=1)
    return order if torch.equal(a[:, order], b) else None


def _tokens_with(patient: Patient, weights: Tensor) -> Tensor:
    """What the embedding's own operation gives for the image with these weights, without its bias."""
    call = patient.anatomy.patch_embedding
    own = weight_of(patient, call)
    assert own is not None
    shaped = weights if call.name in PRODUCTS else weights.T.reshape(own.shape)
    made = [
        call.op(*(each if x is own else x for x in call.args), **call.kwargs)
        for each in (shaped.contiguous(), torch.zeros_like(own))
    ]
    bare = made[0] - made[1]
    return as_tokens(bare) if call.name in PRODUCTS else bare[0].flatten(1).T


def weight_of(patient: Patient, call: Call) -> Tensor | None:
    """The one matrix of an operation; None where it has none of its own, or several."""
    if call.name.startswith(FUSED):
        return None
    found = [s.tensor for s in call.sources if not patient.tape.is_of_image(s) and s.tensor.ndim > 1]
    return found[0] if len(found) == 1 else None
