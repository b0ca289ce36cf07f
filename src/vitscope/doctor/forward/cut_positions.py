"""A table of positions that is cut along the batch: each image gets a vector of its own, each of its tokens the same one. In go a patient and what
holds a row for each place in its batch, out comes the finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.placed import differs, made_of
from vitscope.lens.operations import SUMS

CUT = Fault(
    "position-cut-along-the-batch",
    "M21",
    "batch-independence",
    "error",
    Text(
        "The table of positions is cut by the number of images, not of tokens. All tokens of an image get the same vector, so the model does not "
        "know where a patch is, and the same image gets other scores at another place in the batch.",
        "位置の表が、トークン数ではなく画像の枚数で切り出されています。1枚の画像のトークンにはすべて同じベクトルが足されるため、モデルはパッチの位置を"
        "区別できません。また、同じ画像でもバッチ内の位置によってスコアが変わります。",
    ),
    Text(
        "let the table stand as (1, tokens, width) and cut it by the number of tokens, x.size(1)",
        "表の形状を(1, トークン, 幅)とし、トークン数x.size(1)で切り出してください",
    ),
    'self.register_buffer("pe", pe.view(1, -1, dim))\nx = x + self.pe[:, :x.size(1)]',
    explains=("position", "position-blind"),
)
_SEQUENCE_FIRST = Text(
    "let the table stand as (tokens, 1, width), as the tokens do, and cut it by the number of tokens, x.size(0)",
    "表の形状をトークンに合わせて(トークン, 1, 幅)とし、トークン数x.size(0)で切り出してください",
)


@torch.no_grad()
def cut_along_the_batch(patient: Patient, slots: Sequence[str], moved: float) -> Finding | None:
    """The finding where one of the parameters and buffers with a row for each image is added to the tokens, one vector for all of an image's, and
    has rows for as many as there are tokens; None otherwise."""
    held = dict([*patient.model.named_parameters(), *patient.model.named_buffers()])
    names = {id(held[name]): name for name in slots if name in held}
    for call in patient.tape.calls if names and patient.batch is None else ():
        shape = call.outputs[0].shape if call.outputs else ()
        if call.name not in SUMS or len(shape) != 3 or 1 not in shape[:2]:
            continue
        tokens = max(shape[:2])
        for source in call.sources:
            is_vector = not patient.tape.is_of_image(source) and _is_the_same_for_all(source.tensor, shape[-1])
            for name in [names[each] for each in made_of(source) if each in names] if is_vector else ():
                if tokens > 1 and held[name].numel() // shape[-1] >= tokens:
                    return _told(name, call.path or "the model", moved, is_sequence_first=shape[1] == 1)
    return None


def _is_the_same_for_all(added: Tensor, width: int) -> bool:
    """Whether what is added to one image's tokens is one vector, if repeated."""
    return added.ndim > 0 and added.shape[-1] == width and (added.numel() == width or not differs(added))


def _told(name: str, path: str, moved: float, *, is_sequence_first: bool) -> Finding:
    fault = CUT
    if is_sequence_first:
        code = 'self.register_buffer("pe", pe.view(-1, 1, dim))\nx = x + self.pe[:x.size(0)]'
        fault = replace(CUT, advice=_SEQUENCE_FIRST, code=code)
    return fault.found(
        Text(
            f"{name} is cut along the batch in {path}: image number n gets its row n at every token, so the same image gets other scores at another "
            f"place in the batch (off by {moved:.2g} of their size), and no token knows its place.",
            f"{name}が{path}でバッチの軸に沿って切り出されています。n番目の画像には、どのトークンにもn行目が足されます。そのため同じ画像でもバッチ内の位置が"
            f"変わるとスコアが変わり（相対的な差{moved:.2g}）、トークンの位置は区別されません。",
        ),
        {"change_of_scores": moved, "per_place": [name], "module": path},
    )
