"""Whether the scores depend on the picture at all, and if not, where it is lost. In goes a patient, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

import torch

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.blocks.stream import stream_of
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch, told_batch_first
from vitscope.doctor.mixing.masks import unmasked
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading import start
from vitscope.doctor.reading.early import read_before_the_blocks
from vitscope.doctor.reading.lost import (
    CONSEQUENCES,
    OF_THE_BLOCKS,
    WHY,
    faded_to,
    is_masked,
    takes_a_part,
    where_it_is_lost,
)
from vitscope.doctor.reading.width import over_the_width
from vitscope.lens.tape import Call

ACROSS_THE_BATCH = Fault(
    "class-token-never-sees-a-patch",
    "M2",
    "input-blindness",
    "error",
    WHY,
    Text(
        "nn.MultiheadAttention and nn.TransformerEncoderLayer expect (tokens, batch, width) unless told otherwise: pass batch_first=True, or "
        "transpose before and behind",
        "nn.MultiheadAttentionとnn.TransformerEncoderLayerは、指定しない限り(トークン, バッチ, 幅)の順を想定します。batch_first=Trueを渡すか、"
        "前後で転置してください",
    ),
    "nn.MultiheadAttention(dim, heads, batch_first=True)",
    explains=(*CONSEQUENCES, "batch-independence", "attention", "residual", "patches-never-meet"),
)
MASKED = Fault(
    "class-token-masked-from-patches",
    "M3",
    "input-blindness",
    "error",
    WHY,
    Text(
        "take the mask out of the encoder: an image has no before and after (is_causal=False, no tril)",
        "エンコーダからマスクを取り除いてください。画像には前後の順序がありません（is_causal=False、trilを使わない）",
    ),
    "F.scaled_dot_product_attention(q, k, v)   # no mask, is_causal=False",
    explains=(*CONSEQUENCES, "attention", "residual"),
)
UNREAD = Fault(
    "image-never-reaches-the-scores",
    "M2",
    "input-blindness",
    "error",
    WHY,
    Text(
        "look at the operation where the picture's numbers enter and do not come out; what the head reads must have met the patches",
        "画像の数値が入っていながら出てこない演算を確認してください。ヘッドが読む値は、パッチの情報を受け取っている必要があります",
    ),
    explains=(*(each for each in CONSEQUENCES if each != "blocked-by-zeros"), "attention", *OF_THE_BLOCKS),
)
"""Says no more than that; zeros that block each other are its cause, never its consequence."""
OF_ITS_OWN = ("patches-never-meet", "attention-between-heads", "causal-mask", "block-does-nothing")
"""What keeps patches from the token that is read. Where the picture is lost elsewhere, it is another fault, and stands beside this one."""
DETACHED = Fault(
    "read-out-detached",
    "M2",
    "input-blindness",
    "error",
    Text(
        "No gradient reaches what lies before the cut, so only what lies behind it learns: a linear classifier on random features.",
        "切れ目より前には勾配が届かないため、学習されるのは後ろの部分だけです。ランダムな特徴量に対する線形分類器と同じになります。",
    ),
    Text(
        "take detach(), torch.no_grad() or .data out of the forward, between the patches and the head",
        "パッチからヘッドまでの順伝播から、detach()、torch.no_grad()、.dataを取り除いてください",
    ),
    "return self.head(self.norm(x)[:, 0])   # without .detach()",
    explains=(*CONSEQUENCES, "parameters", "overfit"),
)
_WITH_GRADIENTS = "for block in self.blocks:\n    x = block(x)   # not under torch.no_grad()"
FADES = Fault(
    "picture-fades-on-the-way",
    "M18",
    "input-blindness",
    "error",
    Text(
        "What differs between pictures grows smaller with each layer, until rounding takes the rest: the scores are the same for all of them, and "
        "the gradient, which comes back the same way, is as small.",
        "画像ごとの違いが層を通るたびに小さくなり、最後は丸め誤差に埋もれます。どの画像でもスコアが同じになり、同じ経路を戻る勾配も同様に小さくなります。",
    ),
    Text(
        "give the tokens a way past each branch: residual connections, and nothing that squeezes (sigmoid, tanh, softmax) on the stream itself; "
        "start weights no smaller than 0.02",
        "各残差ブランチを迂回する経路（残差接続）を設け、本流そのものにはsigmoid・tanh・softmaxをかけないでください。"
        "重みの初期値は0.02より小さくしないでください",
    ),
    "x = x + self.attn(self.norm1(x))\nx = x + self.mlp(self.norm2(x))",
    explains=(*CONSEQUENCES, *OF_THE_BLOCKS, "attention", "gradient-vanishes", "dead-units"),
)


def input_blindness(patient: Patient) -> Iterator[Finding]:
    """Whether the scores depend on the pixels, forwards and backwards.

    Does: other pictures (noise, zeros) in the place of its own, and the gradient of the scores for the pixels; where both are exactly nothing, once
    more after 20 steps of Adam. Then two recorded forwards with different pictures say where the numbers stop to differ.
    Finds: a class token that attends across the batch (M2) or behind a mask (M3), a read-out that is detached or averages the width, any other loss
    of the picture.
    Must not accuse: heads, positions and branches that start at zero; inputs that are rounded before they are used (the parameters still learn).
    Source: pytorch/examples issue 1184; torch.nn.MultiheadAttention, batch_first.
    """
    refuse_not_finite(patient)
    if _largest_change(patient) > 0:
        if (found := over_the_width(patient, None)) is not None:
            yield found
        yield from _detached(patient)
        return
    lost = where_it_is_lost(patient)
    if lost is not None and (found := over_the_width(patient, lost)) is not None:
        yield found
        return
    change = 0.0 if patient.is_trained else _largest_change(patient.trained)
    if change == 0:
        yield _named(patient, lost)
        return
    refuse_not_finite(patient.trained)
    yield start.told(patient, lost, {"change_at_start": 0.0, "change_after_some_steps": change})


def _largest_change(patient: Patient) -> float:
    """How far the scores move with other pictures, beside one and their size; 0 where that is rounding. A trained patient has other scores than
    the one that it was."""
    images = patient.images[: patient.batch or 2]
    here = patient.quiet_scores(images)
    others = (patient.noise(len(images), seed=1), torch.zeros_like(images), images.flip(-2) * 3)
    change = max(patient.apart(here, patient.quiet_scores(other)) for other in others)
    return 0.0 if change <= (1e-12 if patient.dtype == torch.float64 else 1e-7) else change


def _detached(patient: Patient) -> Iterator[Finding]:
    """The scores change with the picture and no gradient comes back: most parameters are cut off."""
    gradient = patient.image_gradient(patient.images[: patient.batch or 1])
    if bool((gradient != 0).any()):
        return
    gradients = patient.gradients
    cut = [name for name, g in gradients.items() if g is None or not bool((g != 0).any())]
    sizes = {name: p.numel() for name, p in patient.model.named_parameters()}
    share = sum(sizes[name] for name in cut) / max(sum(sizes[name] for name in gradients), 1)
    if share < 0.5:
        return  # pixels are rounded or looked up on the way in; the parameters learn all the same
    learning = [name for name in gradients if name not in cut]
    if not learning or _learns_later(patient, learning):
        return
    is_detached = any(call.name == "detach" for call in patient.tape.calls)
    yield (DETACHED if is_detached else replace(DETACHED, code=_WITH_GRADIENTS)).found(
        Text(
            f"The scores change with the picture, but no gradient comes back: {100 * share:.1f} % of the parameters get none; "
            f"only {listed(learning)} learn{'s' if len(learning) == 1 else ''}.",
            f"スコアは画像によって変わりますが、勾配が戻ってきません。パラメータの{100 * share:.1f} %には勾配が届かず、"
            f"学習されるのは{listed(learning)}だけです。",
        ),
        {"share_without_gradient": share, "learning": learning, "largest_pixel_gradient": 0.0},
    )


def _learns_later(patient: Patient, learning: list[str]) -> bool:
    """Whether the gradient is only blocked by something that starts at zero."""
    later = patient.trained.image_gradient(patient.images[: patient.batch or 1])
    return bool((later != 0).any())


def _named(patient: Patient, lost: Call | None) -> Finding:
    """The finding with its mechanism."""
    across = attentions_along_the_batch(patient)
    evidence: dict[str, object] = {"largest_change_of_scores": 0.0, "largest_change_after_some_steps": 0.0}
    if lost is not None:
        evidence |= {"lost_in": lost.path or "the model", "lost_at": lost.name}
    if across:
        return told_batch_first(patient, across[0], ACROSS_THE_BATCH).found(
            Text(
                "The scores do not depend on the picture: the class token never sees a patch. Attention runs across the batch "
                f"({listed(across)}), so class tokens meet only class tokens of other images.",
                "スコアが画像に依存していません。クラストークンがパッチを一度も見ていないためです。アテンションがバッチ方向に計算されており"
                f"（{listed(across)}）、クラストークンはほかの画像のクラストークンとしか情報をやり取りしません。",
            ),
            {**evidence, "attentions_across_the_batch": list(across)},
        )
    if (found := read_before_the_blocks(patient, lost, evidence)) is not None:
        return found
    if is_masked(patient):
        return unmasked(MASKED, patient.model, patient.attentions[0].path).found(
            Text(
                "The scores do not depend on the picture: a mask keeps the token that is read from every patch, in all blocks.",
                "スコアが画像に依存していません。読み出されるトークンが、すべてのブロックでマスクによってパッチから遮られています。",
            ),
            evidence,
        )
    if lost is None:
        return _unread(Text("", ""), evidence)
    place = lost.path or "the model"
    left = faded_to(patient, lost)
    if left is not None:
        return _faded(patient, place, left, evidence)
    if not takes_a_part(lost):
        return _unread(
            Text(
                f" It is lost in {place} ({lost.name}): what goes in differs between pictures, what comes out does not.",
                f"画像の情報は{place}（{lost.name}）で失われています。入力は画像ごとに異なりますが、出力は同じです。",
            ),
            evidence,
        )
    return _unread(
        Text(
            f" It is lost in {place} ({lost.name}), where a part of the tokens is taken: all together they differ between pictures, what is taken "
            "does not.",
            f"画像の情報は、トークンの一部を取り出す{place}（{lost.name}）で失われています。全体は画像ごとに異なりますが、取り出した部分は同じです。",
        ),
        evidence,
        is_of_one_token=True,
    )


def _faded(patient: Patient, place: str, left: float, evidence: dict[str, object]) -> Finding:
    """The finding where nothing cuts the picture off: it fades."""
    bare: list[int] = []
    with suppress(Skipped, LensError), torch.no_grad():
        bare = stream_of(patient).attentions_without_skip
    count = len(patient.anatomy.blocks) if bare else 0
    en = f" There is no residual connection in {len(bare)} of {count} blocks." if bare else ""
    ja = f"{count}ブロック中{len(bare)}ブロックに残差接続がありません。" if bare else ""
    return FADES.found(
        Text(
            f"The picture fades on its way: in {place} two pictures differ by {left:.1e} of the tokens' size, and behind it not at all. The scores "
            f"do not depend on the picture.{en}",
            f"画像の情報が途中で薄れて消えています。{place}では2枚の画像の差がトークンの大きさの{left:.1e}倍しかなく、その先ではまったく差がありません。"
            f"スコアは画像に依存していません。{ja}",
        ),
        {**evidence, "apart": left},
    )


def _unread(where: Text, evidence: dict[str, object], *, is_of_one_token: bool = False) -> Finding:
    """The finding that knows no mechanism: where one token is read, what keeps tokens from meeting is its cause."""
    named = (each for each in UNREAD.explains if each not in OF_ITS_OWN)
    fault = replace(UNREAD, explains=tuple(named) if is_of_one_token else (*UNREAD.explains, *OF_ITS_OWN))
    return fault.found(
        Text(
            f"The scores do not depend on the picture: noise or zeros in its place give exactly the same.{where.en}",
            f"スコアが画像に依存していません。ノイズやゼロに置き換えても、まったく同じスコアになります。{where.ja}",
        ),
        evidence,
    )


def is_blind(patient: Patient) -> bool:
    """Whether other pictures leave the scores exactly as they are, as the patient stands."""
    return _largest_change(patient) == 0
