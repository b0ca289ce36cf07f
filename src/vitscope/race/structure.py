"""Two ViTs part by part: patients in, rows out, aligned by what each part does; what differs, and whether it can matter.

Parts are found on the tape of a forward, so a convolution and a product of cut patches stand in the same row. Where two patch embeddings are the
same function, that is shown: the weights of one are carried into the other and give the same tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Skipped
from vitscope.doctor.patient import Patient
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.operations import CONVOLUTIONS, FUSED, NORMS, PRODUCTS, factors
from vitscope.lens.reading import find_class_token, read_tokens
from vitscope.lens.tape import Call

NOT_FOUND = Text("not found", "見つかりません")


@dataclass(frozen=True)
class Row:
    """One part of both models."""

    role: Text
    one: Text
    other: Text
    differs: bool
    matters: Text
    """Whether a difference can matter, and why; empty where there is none."""

    def to_dict(self) -> dict[str, Any]:
        return {
            "role": self.role.to_dict(),
            "one": self.one.to_dict(),
            "other": self.other.to_dict(),
            "differs": self.differs,
            "matters": self.matters.to_dict(),
        }


def structure(one: Patient, other: Patient) -> tuple[Row, ...]:
    """All parts, in the order in which an image passes them."""
    rows = []
    for role, describe, matters in _PARTS:
        a, b = _described(describe, one), _described(describe, other)
        differs = a.en != b.en
        said = matters
        if differs and describe is _embedding:
            said = _carried(one, other) or matters
        rows.append(Row(role, a, b, differs, said if differs else Text("", "")))
    return tuple(rows)


def _described(describe: Callable[[Patient], Text], patient: Patient) -> Text:
    try:
        return describe(patient)
    except (Skipped, LensError):
        return NOT_FOUND


def _parameters(patient: Patient) -> Text:
    return Text(f"{patient.parameter_count:,}", f"{patient.parameter_count:,}")


def _embedding(patient: Patient) -> Text:
    call = patient.anatomy.patch_embedding
    weight = _weight(patient, call)
    if call.name in CONVOLUTIONS and weight is not None:
        size, stride = "×".join(map(str, weight.shape[2:])), "×".join(map(str, call.args[3]))
        return Text(
            f"convolution {size}, stride {stride}, to {weight.shape[0]}",
            f"畳み込み{size}、ストライド{stride}、{weight.shape[0]}次元へ",
        )
    width = call.outputs[0].shape[-1]
    given = factors(call)[0].tensor.shape[-1] if call.name in PRODUCTS else 0
    return Text(f"cut, then linear {given} to {width}", f"切り出してから線形変換（{given}→{width}次元）")


def _embedding_norm(patient: Patient) -> Text:
    entering = _entering(patient)
    numbers = range(patient.anatomy.patch_embedding.number, entering.number)
    count = sum(patient.tape.calls[number].name in NORMS for number in numbers)
    return (
        Text("none", "なし") if not count else Text(f"{count} before the first block", f"最初のブロックの前に{count}個")
    )


def _tokens(patient: Patient) -> Text:
    layout = patient.layout
    extra = len(layout.extra)
    grid = f"{layout.grid[0]}×{layout.grid[1]}"
    return Text(
        f"{len(layout.patch_of_token)} ({grid} patches, {extra} more)",
        f"{len(layout.patch_of_token)}個（パッチ{grid}、その他{extra}個）",
    )


def _position(patient: Patient) -> Text:
    call = patient.anatomy.with_position
    if call is None:
        return Text("none added", "加算なし")
    table = next((s.tensor for s in call.sources if not patient.tape.is_of_image(s)), None)
    spread = float(table.detach().double().std()) if table is not None and table.numel() > 1 else 0.0
    return Text(f"added, spread {spread:.2g}", f"加算あり（標準偏差{spread:.2g}）")


def _blocks(patient: Patient) -> Text:
    count = len(patient.anatomy.blocks)
    return Text(str(count), str(count))


def _heads(patient: Patient) -> Text:
    kinds = dict.fromkeys((len(a.map), a.q.shape[-1]) for a in patient.attentions)
    words = ", ".join(f"{heads} × {width}" for heads, width in kinds)
    return Text(words, words)


def _axis(patient: Patient) -> Text:
    from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch

    along = attentions_along_the_batch(patient)
    return Text("the batch", "バッチ") if along else Text("the tokens", "トークン")


def _attention_bias(patient: Patient) -> Text:
    """Whether queries, keys and values get a bias."""
    names = {call.name for call in patient.tape.calls if call.number in _projections(patient)}
    return Text("with bias", "バイアスあり") if names & {"addmm", "baddbmm"} else Text("without bias", "バイアスなし")


def _projections(patient: Patient) -> set[int]:
    from vitscope.lens.flow import projections

    return projections(patient.tape, patient.attentions[0].begins)


def _mlp(patient: Patient) -> Text:
    block = patient.anatomy.blocks[0]
    if block.after_mlp is None or block.after_attention is None:
        return NOT_FOUND
    inside = patient.tape.calls[block.after_attention.number : block.after_mlp.number]
    widths = [call.outputs[0].shape[-1] for call in inside if call.name in PRODUCTS]
    acts = [
        call.name
        for call in inside
        if call.name in ("gelu", "relu", "silu", "elu", "tanh", "sigmoid", "hardswish", "leaky_relu")
    ]
    words = " → ".join(map(str, widths))
    return Text(f"{words}, {acts[0] if acts else 'no activation'}", f"{words}、{acts[0] if acts else '活性化なし'}")


def _norms(patient: Patient) -> Text:
    blocks = patient.anatomy.blocks
    if any(block.is_post_norm for block in blocks):
        return Text("behind the sums (post-norm)", "加算の後（post-norm）")
    return Text("before attention and MLP (pre-norm)", "アテンションとMLPの前（pre-norm）")


def _skips(patient: Patient) -> Text:
    blocks = patient.anatomy.blocks
    sums = sum((block.after_attention is not None) + (block.after_mlp is not None) for block in blocks)
    return Text(f"{sums} sums in {len(blocks)} blocks", f"{len(blocks)}ブロックに加算{sums}個")


def _final_norm(patient: Patient) -> Text:
    return Text("yes", "あり") if patient.anatomy.final_norm is not None else Text("none", "なし")


def _read_out(patient: Patient) -> Text:
    tape, anatomy, layout = patient.tape, patient.anatomy, patient.layout
    reads = read_tokens(tape, anatomy)
    token = find_class_token(tape, anatomy, layout, reads)
    if token is not None and len(reads) == 1:
        return Text(f"class token (number {token})", f"クラストークン（{token}番）")
    return Text(
        f"{len(reads)} of {len(layout.patch_of_token)} tokens",
        f"{len(layout.patch_of_token)}個中{len(reads)}個のトークン",
    )


def _classes(patient: Patient) -> Text:
    return Text(str(patient.classes), str(patient.classes))


_PARTS: tuple[tuple[Text, Callable[[Patient], Text], Text], ...] = (
    (
        Text("patch embedding", "パッチ埋め込み"),
        _embedding,
        Text("A linear map of each patch either way.", "どちらも各パッチの線形変換です。"),
    ),
    (
        Text("norms around the embedding", "埋め込み前後の正規化"),
        _embedding_norm,
        Text("It can: it sets how large patches are beside the position.", "影響しうる違いです。位置埋め込みに対するパッチの大きさが変わります。"),
    ),
    (
        Text("tokens", "トークン"),
        _tokens,
        Text("It can: smaller patches see finer detail and cost more.", "影響しうる違いです。パッチが小さいほど細部が見え、計算量は増えます。"),
    ),
    (
        Text("position embedding", "位置埋め込み"),
        _position,
        Text("Its start can matter in the first epochs, its absence always.", "初期値の違いは最初の数エポックに、有無の違いは常に影響します。"),
    ),
    (Text("blocks", "ブロック"), _blocks, Text("It can: depth.", "影響しうる違いです（深さ）。")),
    (
        Text("heads × width", "ヘッド数×幅"),
        _heads,
        Text("Little, unless heads become narrower than 16.", "ヘッドの幅が16を下回らない限り、影響は小さいです。"),
    ),
    (
        Text("attention compares along", "アテンションの方向"),
        _axis,
        Text("It decides everything: along the batch no token of an image meets another.", "決定的な違いです。バッチ方向では、画像内のトークンどうしが出会いません。"),
    ),
    (
        Text("bias of q, k, v", "q, k, vのバイアス"),
        _attention_bias,
        Text("Hardly: it adds a few hundred parameters and no new function of note.", "ほとんど影響しません。パラメータが数百個増えるだけです。"),
    ),
    (
        Text("MLP", "MLP"),
        _mlp,
        Text("Width can; GELU against ReLU hardly does; no activation makes it linear.", "幅は影響しえます。GELUとReLUの差はわずかです。活性化がなければ線形になります。"),
    ),
    (
        Text("norms of the blocks", "ブロックの正規化"),
        _norms,
        Text("It can: post-norm wants a warm-up and a smaller learning rate.", "影響しうる違いです。post-normにはウォームアップと小さめの学習率が必要です。"),
    ),
    (
        Text("residual connections", "残差接続"),
        _skips,
        Text("It can: without them depth stops helping.", "影響しうる違いです。なければ深くしても性能が上がりません。"),
    ),
    (
        Text("norm before the head", "ヘッド前の正規化"),
        _final_norm,
        Text("Little: the head then sees features whose size grows with depth.", "影響は小さめです。ない場合、ヘッドへの入力が深さとともに大きくなります。"),
    ),
    (
        Text("read out", "読み出し"),
        _read_out,
        Text("Little: class token and mean are within a point of each other as a rule.", "影響は小さめです。クラストークンと平均の差は、通常1ポイント以内です。"),
    ),
    (Text("classes", "クラス数"), _classes, Text("They answer different questions.", "解いている問題が異なります。")),
    (Text("parameters", "パラメータ数"), _parameters, Text("Only through the parts above.", "上の各部の違いによるものです。")),
)  # fmt: skip


def _entering(patient: Patient) -> Call:
    anatomy = patient.anatomy
    return anatomy.blocks[0].enters or anatomy.with_position or anatomy.with_class or anatomy.embedded


def _weight(patient: Patient, call: Call) -> Tensor | None:
    if call.name.startswith(FUSED):
        return None
    found = [s.tensor for s in call.sources if not patient.tape.is_of_image(s) and s.tensor.ndim > 1]
    return found[0] if len(found) == 1 else None


@torch.no_grad()
def _carried(one: Patient, other: Patient) -> Text | None:
    """Carries the first embedding's weights, pixel by pixel, into the second's own operation and compares the tokens that both give."""
    try:
        weights, order = _weights_by_pixel(one), _same_pixels(one, other)
        if weights is None or order is None or weights.shape != _shape_by_pixel(other):
            return None
        theirs, ours = _tokens_with(other, weights[order]), _tokens_with(one, weights)
    except (Skipped, LensError, RuntimeError, IndexError):
        return None
    error = float((theirs - ours).abs().max() / ours.abs().max().clamp(min=1e-12))
    if error > 1e-6:
        return None
    pixels, width = weights.shape
    return Text(
        f"No: both are one linear map of a patch's {pixels} numbers to {width}. The weights of one, carried into the other pixel by pixel, give "
        f"the same tokens (largest relative difference {error:.0e}).",
        f"影響しません。どちらもパッチの数値{pixels}個から{width}個への線形変換です。一方の重みを画素ごとにもう一方へ移すと、"
        f"同じトークンになります（相対誤差の最大{error:.0e}）。",
    )


def _weights_by_pixel(patient: Patient) -> Tensor | None:
    """The embedding's weights as numbers of a patch, in its own order, × width."""
    call = patient.anatomy.patch_embedding
    weight = _weight(patient, call)
    if weight is None or patient.layout.pixels is None:
        return None
    return weight if call.name in PRODUCTS else weight.flatten(1).T


def _shape_by_pixel(patient: Patient) -> torch.Size | None:
    weights = _weights_by_pixel(patient)
    return None if weights is None else weights.shape


def _same_pixels(one: Patient, other: Patient) -> Tensor | None:
    """Where in one's patch each number of the other's stands; None where they cut the image in other patches."""
    a, b = one.layout.pixels, other.layout.pixels
    if a is None or b is None or a.shape != b.shape:
        return None
    order = (b[0][:, None] == a[0][None]).long().argmax(dim=1)
    return order if torch.equal(a[:, order], b) else None


def _tokens_with(patient: Patient, weights: Tensor) -> Tensor:
    """What the embedding's own operation gives for the image with these weights, without its bias."""
    call = patient.anatomy.patch_embedding
    own = _weight(patient, call)
    assert own is not None
    shaped = weights if call.name in PRODUCTS else weights.T.reshape(own.shape)
    made = [
        call.op(*(each if x is own else x for x in call.args), **call.kwargs)
        for each in (shaped.contiguous(), torch.zeros_like(own))
    ]
    bare = made[0] - made[1]
    return as_tokens(bare) if call.name in PRODUCTS else bare[0].flatten(1).T


def differing(rows: tuple[Row, ...]) -> Iterator[Row]:
    """The rows in which the two are not the same."""
    yield from (row for row in rows if row.differs)
