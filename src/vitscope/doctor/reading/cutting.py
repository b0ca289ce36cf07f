"""Where patches go wrong: in the image before they are cut, in cutting them, or behind the convolution that cuts them. In go a patient and the two
faults of it, out comes the one with the fix for that place."""

from __future__ import annotations

from dataclasses import replace

import torch

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import CONVOLUTIONS
from vitscope.lens.tape import Call

_IMAGE = Text(
    "the axes of the image are exchanged with reshape or view before patches are cut, which moves pixels: images come as (batch, channels, height, "
    "width); leave that line out, or take permute, which keeps each pixel's numbers together",
    "パッチに切り分ける前に、画像の軸がreshapeやviewで入れ替えられ、画素がばらばらになっています。画像は(バッチ, チャネル, 高さ, 幅)の順で"
    "入力されます。その行を取り除くか、画素の値を崩さないpermuteを使ってください",
)
_BEHIND = Text(
    "the convolution gives (batch, width, rows, columns): flatten its rows and columns, then exchange axes with transpose; view and reshape do not "
    "exchange them",
    "畳み込みの出力は(バッチ, 幅, 行, 列)の順です。行と列を平坦化してから、transposeで軸を入れ替えてください。viewやreshapeでは軸は入れ替わりません",
)


def fitting(cut: Fault, unfolded: Fault, patient: Patient, embedding: Call, side: tuple[int, int]) -> Fault:
    """Which of the two it is; `side` is the height and the width of a patch."""
    if any(call.name == "im2col" for call in patient.tape.calls):
        return unfolded
    if embedding.name not in CONVOLUTIONS:
        return cut
    moved = _pixels_moved(patient, embedding, side)
    if moved is None:
        return cut
    if moved:
        return replace(
            cut, advice=_IMAGE, code="x = x.permute(0, 2, 3, 1)   # B C H W -> B H W C   # not .reshape(B, H, W, C)"
        )
    return replace(cut, advice=_BEHIND, code="x = self.proj(x).flatten(2).transpose(1, 2)   # not .view(B, N, -1)")


@torch.no_grad()
def _pixels_moved(patient: Patient, embedding: Call, side: tuple[int, int]) -> bool | None:
    """Whether one square of the image's pixels is at other places of what a convolution is given, in the same number; None where that is no image
    of this size, or others change with it."""
    source, image = embedding.sources[0], patient.tape.image
    if source.call is None or source.tensor.shape != image.shape:
        return False if source.tensor is image else None
    other = image.clone()
    square = (..., slice(0, side[0]), slice(0, side[1]))
    other[square] += 1 + patient.noise(1, seed=4).abs()[square]
    changed = patient.tape.play({None: other}, source.call, source.index) != patient.tape.value(source)
    if int(changed.sum()) != image[square].numel():
        return None
    return not bool(changed[square].all())
