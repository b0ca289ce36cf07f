"""Which attentions run along the batch instead of along the tokens. In goes a patient, out come the paths of the modules that run them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, nn

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Skipped
from vitscope.doctor.forward.shapes import empty_images, without_numbers
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import FUSED, SOFTMAX
from vitscope.lens.tape import Call, Tape, record

SIZES = (3, 5)
"""Two batches, whose sizes hardly anything else in a model has."""


def attentions_along_the_batch(patient: Patient) -> tuple[str, ...]:
    """The modules (`the model` for itself) whose attention compares images of a batch with one another, in order.

    The forward is recorded at two batch sizes. An attention along the tokens is as long at both; one along the batch grows with it, and has as
    many shares as there are pairs of images. A softmax over images whose tokens are compared with their own (a wrong axis) has only as many more
    as there are images; one that gives the scores is no attention.
    """
    known = patient._known.get("along_the_batch")
    if not isinstance(known, tuple):
        known = patient._known["along_the_batch"] = _found(patient)
    return known


def told_batch_first(patient: Patient, path: str, fault: Fault) -> Fault:
    """The fault with the line of code that lets the attention of a module run along the tokens: by the argument of the class that it is one of, if
    it has one; where the argument is given already, the tokens come in the other order."""
    modules: list[nn.Module] = []
    for name in (path.rpartition(".")[0], path):
        with suppress(AttributeError):
            modules.append(patient.model.get_submodule("" if name == "the model" else name))
    for kind in _HAVE_THE_ARGUMENT:
        module = next((each for each in modules if isinstance(each, kind)), None)
        if module is not None:
            is_given = getattr(getattr(module, "self_attn", module), "batch_first", False)
            code = f"nn.{kind.__name__}(dim, heads, batch_first={not is_given})"
            if is_given:
                return replace(fault, code=code, advice=_IS_GIVEN)
            return replace(fault, code=code)
    if _come_transposed(patient):
        return replace(fault, code="x = x + self.pos_embed   # no .transpose(0, 1) behind it", advice=_TRANSPOSED)
    return replace(fault, code=_OWN, advice=_BESIDE)


def _come_transposed(patient: Patient) -> bool:
    """Whether the first block takes the tokens of one image as (tokens, 1, width)."""
    with suppress(Skipped, LensError):
        enters = patient.loose.anatomy.blocks[0].enters
        shape = () if enters is None else tuple(enters.outputs[0].shape)
        return patient.batch in (None, 1) and len(shape) == 3 and shape[1] == 1 < shape[0]
    return False


_IS_GIVEN = Text(
    "batch_first=True is set, and the tokens come as (tokens, batch, width): leave out the transpose in front of the blocks, or set "
    "batch_first=False",
    "batch_first=Trueが指定されていますが、トークンは(トークン, バッチ, 幅)の順で渡されています。ブロックの前の転置をやめるか、"
    "batch_first=Falseにしてください",
)
_TRANSPOSED = Text(
    "the tokens come into the blocks as (tokens, batch, width), and this attention takes (batch, tokens, width): leave out the transpose in front of "
    "the blocks, and the one behind them",
    "トークンは(トークン, バッチ, 幅)の順でブロックに渡されていますが、このアテンションが想定するのは(バッチ, トークン, 幅)です。ブロックの前の"
    "転置と、後ろの転置をやめてください",
)
_BESIDE = Text(
    "let the products of this attention run along the tokens and beside the batch: queries, keys and values are (batch, heads, tokens, width of a "
    "head)",
    "このアテンションの積は、バッチの軸ではなくトークンの軸に沿って計算してください。クエリ・キー・バリューの形は"
    "(バッチ, ヘッド, トークン, ヘッドの幅)です",
)
_OWN = "q, k, v = (t.view(B, N, heads, d).transpose(1, 2) for t in (q, k, v))   # batch, heads, tokens, width of a head"
_HAVE_THE_ARGUMENT = (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.MultiheadAttention)


def _found(patient: Patient) -> tuple[str, ...]:
    if patient.batch is not None:  # there are no two batch sizes
        return ()
    twin = without_numbers(patient)  # lengths need no numbers, and a tape keeps them all
    sizes = (2, 3) if twin is None and patient.is_large else SIZES
    few, many = (_lengths(patient, size, twin) for size in sizes)
    if len(few) != len(many):
        return ()
    paths = [
        path
        for (path, keys, shares), (_, more_keys, more_shares) in zip(few, many, strict=True)
        if keys * sizes[1] == more_keys * sizes[0] and shares * sizes[1] ** 2 == more_shares * sizes[0] ** 2
    ]
    return tuple(dict.fromkeys(path or "the model" for path in paths))


def _lengths(patient: Patient, size: int, twin: nn.Module | None) -> list[tuple[str, int, int]]:
    """Each attention's module, how many keys each of its queries is compared with, and how many shares it has in all."""
    tape = _tape(twin, empty_images(patient, size)) if twin is not None else patient.tape_of(patient.images[:size])
    lengths = [(call.path, _length(call, (size, patient.classes))) for call in tape.calls]
    return [(path, *length) for path, length in lengths if length is not None]


def _tape(model: nn.Module, images: Tensor) -> Tape:
    with torch.random.fork_rng(devices=[]), record(model, images) as tape:
        model(images)
    return tape


def _length(call: Call, scores: tuple[int, int]) -> tuple[int, int] | None:
    if any(each.is_nested for each in (*call.outputs, *(source.tensor for source in call.sources))):
        return None  # images of different sizes stand by themselves in it
    if call.name in SOFTMAX:
        out = call.outputs[0]
        return (int(out.shape[int(call.args[1])]), out.numel()) if out.ndim and tuple(out.shape) != scores else None
    if call.name.startswith(FUSED):
        queries, keys = (source.tensor for source in call.sources[:2])
        return keys.shape[-2], queries.shape[:-1].numel() * keys.shape[-2]
    return None
