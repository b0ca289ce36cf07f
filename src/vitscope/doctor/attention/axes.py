"""Along what axis shares were made to sum to one, where that is not the keys: in words, and as a finding. In go a patient and its attentions.

One image shows queries, heads, or all of them together. Whether the images of a batch compete with one another, several of them show: in what
they share an axis of length one at a single image, or stand beside the heads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.attention.measuring import Axis, Measured, axis_of
from vitscope.doctor.attention.shares import sum_to_one
from vitscope.doctor.attention.weights import divided_by_others, weights_by_hand
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.mixing.batch_axis import SIZES
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.operations import SOFTMAX
from vitscope.lens.tape import Tape

WRONG_AXIS = Fault(
    "softmax-over-the-wrong-axis",
    "M7",
    "attention",
    "error",
    Text(
        "The shares that a token gives to the others must sum to one. Along another axis they compete with the shares of other tokens, heads or "
        "images, and how much a token gets depends on all of them: learning is slow and stops early.",
        "1つのトークンがほかのトークンに配る重みは、合計が1でなければなりません。別の軸で正規化すると、ほかのトークンやヘッド、画像の重みと競合し、"
        "受け取る量がそれら全体に左右されるため、学習が遅く、早い段階で頭打ちになります。",
    ),
    Text(
        "take the softmax along the last axis of queries × keys, and name the axis: without dim, PyTorch takes the first of three and the second of "
        "four",
        "クエリ×キーの最後の軸でsoftmaxを取り、軸を明示してください（dimを省略すると、3次元では最初の軸、4次元では2番目の軸になります）",
    ),
    "attn = scores.softmax(dim=-1)",
    explains=("overfit",),
)
OF_THE_BATCH = ("attention-across-the-batch", "images-of-a-batch-meet", "batch-statistics-in-evaluation")
"""What follows where images compete with one another."""


@dataclass(frozen=True, eq=False)
class Wrong:
    """Shares that do not sum to one along the keys."""

    path: str
    axis: Axis
    map: Tensor


def _runs(en: str, ja: str) -> Text:
    return Text(
        f"the softmax runs {en}, not over the keys",
        f"softmaxがキーの軸ではなく{ja}で計算されています",
    )


_AXES: dict[Axis, Text] = {
    "queries": _runs("over the queries", "クエリの軸"),
    "heads": _runs("over the heads", "ヘッドの軸"),
    "batch": _runs("over the images of the batch", "バッチの軸（画像どうし）"),
    "batch and heads": _runs("over the batch and the heads, which are one axis there", "バッチとヘッドをまとめた軸"),
    "batch and windows": _runs(
        "over the batch and the windows, which are one axis there", "バッチとウィンドウをまとめた軸"
    ),
    "one head": _runs(
        "over an axis of length 1 (the heads, as a rule, of which there is one)",
        "長さ1の軸（通常はヘッド。ヘッドは1つだけです）",
    ),
    "length one": _runs("over an axis of length 1 (the batch, as a rule)", "長さ1の軸（通常はバッチ）"),
    "queries and keys": Text(
        "the softmax runs over all queries and keys together, not over the keys of each query",
        "softmaxが、クエリごとにキーの軸で計算されるのではなく、すべてのクエリとキーにわたってまとめて計算されています",
    ),
    "everything": Text(
        "the softmax runs over all queries and keys of all images together, not over the keys of each query",
        "softmaxが、クエリごとにキーの軸で計算されるのではなく、バッチ内の全画像のすべてのクエリとキーにわたってまとめて計算されています",
    ),
    "rows of others": Text(
        "each share is divided by the sum of another token's row, laid along the keys instead of the queries",
        "各重みが、自分の行ではなく別のトークンの行の合計で割られています（合計がクエリではなくキーの軸に沿って並んでいます）",
    ),
}


_OF_ONE_QUERY = _runs(
    "over an axis of length 1 (the queries, of which there is one), so that every weight is 1",
    "長さ1の軸（クエリの軸。クエリは1つだけです）",
)


def wrong_axes(patient: Patient, measured: list[Measured]) -> list[Wrong]:
    """Those of attentions that the lens has proved."""
    wrong = [(each, each.axis) for each in measured if each.axis is not None]
    several = _several_images(patient, {each.heads for each, _ in wrong}) if wrong else None
    known = {} if several is None else _by_weights(*several)
    found: list[Wrong] = []
    for each, axis in wrong:
        axis = known.get(each.path, axis)
        if axis == "length one" and several is not None:
            axis = _of_length_one(patient.tape, *several, each)
        found.append(Wrong(each.path, axis, each.attention.map))
    return found


def _of_length_one(one: Tape, several: Tape, size: int, of: Measured) -> Axis:
    """What an axis of length one at a single image is, by the softmax itself: learned queries ask in a row that is no square."""
    pairs = list(zip(*([c for c in tape.calls if c.name in SOFTMAX] for tape in (one, several)), strict=False))
    for here, there in pairs:
        if of.attention.begins.number < here.number < of.attention.ends.number:
            lengths = [call.outputs[0].shape[int(call.args[1])] for call in (here, there)]
            if lengths == [1, size]:
                return "batch"
            break
    if of.attention.map.shape[-2] == 1:
        return "queries"
    return "one head" if of.heads == 1 else "length one"


def wrong_axes_by_hand(patient: Patient) -> list[Wrong]:
    """Those of weights that are no softmax of torch's."""
    found: list[Wrong] = []
    for weights in weights_by_hand(patient.tape):
        assert weights.source is not None
        map_ = weights.of(patient.tape.value(weights.source))
        axis = "rows of others" if divided_by_others(patient.tape, weights) else axis_of(map_, len(map_))
        if axis is not None:
            found.append(Wrong(weights.path, axis, map_))
    several = _several_images(patient, {len(each.map) for each in found}) if found else None
    known = {} if several is None else _by_weights(*several)
    found = [replace(each, axis=known.get(each.path, each.axis)) for each in found]
    return [each for each in found if each.axis != "length one"]  # what is divided behind the values may be one


def _several_images(patient: Patient, heads: Collection[int]) -> tuple[Tape, int] | None:
    """A tape of so many images as there are no heads, and how many; None where there are no two batch sizes."""
    if patient.batch is not None:
        return None
    size = next(each for each in ((2, 3, 5) if patient.is_large else (*SIZES, 7)) if each not in heads)
    images = patient.images[:1].repeat(size, 1, 1, 1) + patient.noise(size, seed=7)
    with suppress(LensError, RuntimeError):
        return patient.tape_of(images), size
    return None


def _by_weights(tape: Tape, size: int) -> dict[str, Axis]:
    """By module, the axis of weights that sum to one over the images of a batch."""
    maps = [(each.path, each.of(tape.value(each.source))) for each in weights_by_hand(tape) if each.source]
    return {path or "the model": axis for path, map_ in maps for axis in [_over_images(map_, size)] if axis}


def _over_images(map_: Tensor, size: int) -> Axis | None:
    shares = map_.double()
    if len(shares) % size or sum_to_one(shares.sum(dim=-1)):
        return None
    if sum_to_one(shares.sum()):
        return "everything"
    beside = (shares.view(size, -1, *shares.shape[1:]).sum(dim=0), shares.view(-1, size, *shares.shape[1:]).sum(dim=1))
    if any(sum_to_one(each) for each in beside):
        return "batch"
    if sum_to_one(shares.sum(dim=0)):
        return "batch and heads"
    folded = (each for each in range(2 * size, len(shares), size) if len(shares) % each == 0)
    is_folded = any(sum_to_one(shares.view(each, -1, *shares.shape[1:]).sum(dim=0)) for each in folded)
    return "batch and windows" if is_folded else None


def _one_query() -> Fault:
    """Where one query reads all tokens, as in pooling."""
    return replace(
        WRONG_AXIS,
        advice=Text(
            "take the softmax along the tokens: scores of (batch, tokens, 1) have them on axis 1, those of (batch, 1, tokens) on the last",
            "softmaxはトークンの軸で取ってください。スコアの形が(バッチ, トークン, 1)なら軸1、(バッチ, 1, トークン)なら最後の軸です",
        ),
        code="w = self.score(x).softmax(dim=1)   # x: batch, tokens, dim",
        explains=(*WRONG_AXIS.explains, "first-loss-too-high"),
    )


def wrong_axis(found: list[Wrong]) -> Finding:
    """The finding of some of them."""
    ((axis, _),) = Counter(each.axis for each in found).most_common(1)
    sums = [each.map.double().sum(dim=-1) for each in found]
    least, most = min(float(each.min()) for each in sums), max(float(each.max()) for each in sums)
    paths = [each.path for each in found]
    is_one = f"{least:.3g}" == f"{most:.3g}"
    span = (
        Text(f"{least:.3g}", f"{least:.3g}")
        if is_one
        else Text(f"between {least:.3g} and {most:.3g}", f"{least:.3g}から{most:.3g}")
    )
    of_images = axis in ("batch", "batch and heads", "batch and windows", "everything")
    fault = replace(WRONG_AXIS, explains=(*WRONG_AXIS.explains, *OF_THE_BATCH)) if of_images else WRONG_AXIS
    said = _AXES[axis]
    if axis == "queries" and all(each.map.shape[-2] == 1 for each in found):
        fault, said = _one_query(), _OF_ONE_QUERY
    return fault.found(
        Text(
            f"What a token gives to all others sums to {span.en} instead of 1: {said.en} ({listed(paths)}).",
            f"1つのトークンがほかのすべてに配る重みの合計が、1ではなく{span.ja}になっています。{said.ja}（{listed(paths)}）。",
        ),
        {"axis": axis, "least_row_sum": least, "largest_row_sum": most, "modules": paths},
    )
