"""Whether the scores depend on the picture at all, and if not, where it is lost. In goes a patient, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.flow import ancestors
from vitscope.lens.tape import Call

CONSEQUENCES = (
    "pixel-coverage",
    "position",
    "token-mixing",
    "gradient",
    "overfit",
    "learning-rate",
    "initial-loss",
    "cut-from-the-graph",
    "zero-gradient",
    "blocked-by-zeros",
)
OF_THE_BLOCKS = (
    "skip-missing",
    "skip-behind-the-norm",
    "post-norm",
    "final-norm-missing",
    "block-does-nothing",
    "zero-initialised-block",
)
"""What the check `residual` may say where the picture is lost; that the blocks' results are thrown away is a cause, no consequence."""
_WHY = Text(
    "Scores that do not depend on the picture cannot be learned from it: the loss stays at ln(classes), the accuracy at one in as many, "
    "whatever the learning rate, the data or the length of the training.",
    "画像に依存しないスコアからは何も学習できません。学習率やデータ、学習時間をどう変えても、損失はln(クラス数)、正解率は1/クラス数のままです。",
)
ACROSS_THE_BATCH = Fault(
    "class-token-never-sees-a-patch",
    "M2",
    "input-blindness",
    "error",
    _WHY,
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
    _WHY,
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
    _WHY,
    Text(
        "look at the named module: the picture's numbers enter it and do not come out; what the head reads must have met the patches",
        "上に挙げたモジュールを確認してください。画像の数値が入っていながら出てきません。ヘッドが読む値は、パッチの情報を受け取っている必要があります",
    ),
    explains=(*CONSEQUENCES, "attention", *OF_THE_BLOCKS),
)
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
AT_START = Fault(
    "scores-start-at-zero",
    "M2",
    "input-blindness",
    "note",
    Text(
        "A head or branches that start at zero are a usual choice: the first steps move them, and the scores then follow the picture.",
        "ヘッドや残差ブランチをゼロで初期化するのはよくある設計です。最初の数ステップで値が動き、スコアは画像に従うようになります。",
    ),
    Text("nothing to do", "対処は不要です"),
)


def input_blindness(patient: Patient) -> Iterator[Finding]:
    """Whether the scores depend on the pixels, forwards and backwards.

    Does: other pictures (noise, zeros) in the place of its own, and the gradient of the scores for the pixels; where both are exactly nothing, once
    more after 20 steps of Adam. Then two recorded forwards with different pictures say where the numbers stop to differ.
    Finds: a class token that attends across the batch (M2) or behind a mask (M3), a read-out that is detached, any other loss of the picture.
    Must not accuse: heads, positions and branches that start at zero; inputs that are rounded before they are used (the parameters still learn).
    Source: pytorch/examples issue 1184; torch.nn.MultiheadAttention, batch_first.
    """
    change = _largest_change(patient)
    if change > 0:
        yield from _detached(patient)
        return
    if patient.is_trained or _largest_change(patient.trained) == 0:
        yield _named(patient)
        return
    yield AT_START.found(
        Text(
            "At the start the scores are the same for every picture; after some steps of training they differ. Something starts at zero (the head, "
            "as a rule).",
            "初期状態ではどの画像でもスコアが同じですが、数ステップ学習すると画像ごとに変わります。どこか（通常はヘッド）がゼロで初期化されています。",
        ),
        {"change_at_start": 0.0, "change_after_some_steps": _largest_change(patient.trained)},
    )


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
    yield DETACHED.found(
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


def _named(patient: Patient) -> Finding:
    """The finding with its mechanism."""
    across = attentions_along_the_batch(patient)
    evidence: dict[str, object] = {"largest_change_of_scores": 0.0, "largest_change_after_some_steps": 0.0}
    lost = _where_it_is_lost(patient)
    if lost is not None:
        evidence |= {"lost_in": lost.path or "the model", "lost_at": lost.name}
    if across:
        return ACROSS_THE_BATCH.found(
            Text(
                "The scores do not depend on the picture: the class token never sees a patch. Attention runs across the batch "
                f"({listed(across)}), so class tokens meet only class tokens of other images.",
                "スコアが画像に依存していません。クラストークンがパッチを一度も見ていないためです。アテンションがバッチ方向に計算されており"
                f"（{listed(across)}）、クラストークンはほかの画像のクラストークンとしか情報をやり取りしません。",
            ),
            {**evidence, "attentions_across_the_batch": list(across)},
        )
    if _is_masked(patient):
        return MASKED.found(
            Text(
                "The scores do not depend on the picture: a mask keeps the token that is read from every patch, in all blocks.",
                "スコアが画像に依存していません。読み出されるトークンが、すべてのブロックでマスクによってパッチから遮られています。",
            ),
            evidence,
        )
    where = Text("", "")
    if lost is not None:
        place = lost.path or "the model"
        where = Text(
            f" It is lost in {place} ({lost.name}): what goes in differs between pictures, what comes out does not.",
            f"画像の情報は{lost.path or 'モデル本体'}（{lost.name}）で失われています。入力は画像ごとに異なりますが、出力は同じです。",
        )
    return UNREAD.found(
        Text(
            f"The scores do not depend on the picture: noise or zeros in its place give exactly the same.{where.en}",
            f"スコアが画像に依存していません。ノイズやゼロに置き換えても、まったく同じスコアになります。{where.ja}",
        ),
        evidence,
    )


@torch.no_grad()
def _where_it_is_lost(patient: Patient) -> Call | None:
    """The last operation on the way to the scores that is given something that differs between two pictures and gives nothing that does."""
    one = patient.tape
    other = patient.tape_of(patient.noise(patient.batch or 1, seed=1))
    if len(one.calls) != len(other.calls):
        return None
    differs = {a.number for a, b in zip(one.calls, other.calls, strict=True) if _differ(a.outputs, b.outputs)}
    ends = [
        call for call in one.calls if call.outputs and call.outputs[0].shape == (patient.batch or 1, patient.classes)
    ]
    if not ends:
        return None
    for number in sorted(ancestors(ends[-1]), reverse=True):
        call = one.calls[number]
        makers = [s.call for s in call.sources if s.call is not None]
        if number not in differs and (
            any(maker.number in differs for maker in makers) or any(s.tensor is one.image for s in call.sources)
        ):
            return call
    return None


def _differ(ours: tuple[Tensor, ...], theirs: tuple[Tensor, ...]) -> bool:
    return any(
        a.shape != b.shape
        or (a.is_floating_point() and float((a - b).abs().max()) > 1e-12 * (1 + float(a.abs().max())))
        for a, b in zip(ours, theirs, strict=False)
        if a.numel()
    )


def _is_masked(patient: Patient) -> bool:
    """Whether a token that is no patch has exact zeros for all patches in every map, where other tokens have not."""
    try:
        extra, patches = patient.layout.extra, sorted(patient.layout.token_of_patch.values())
        maps = [attention.map for attention in patient.attentions]
    except Skipped:
        return False
    if not patches or any(m.shape[-1] <= max(patches) or m.shape[-2] != m.shape[-1] for m in maps):
        return False
    meets = torch.stack([(m[..., patches] != 0).any(dim=0).any(dim=-1) for m in maps]).any(dim=0)  # T: any patch, ever
    return bool(meets.any()) and any(not bool(meets[token]) for token in extra)


def is_blind(patient: Patient) -> bool:
    """Whether other pictures leave the scores exactly as they are, as the patient stands."""
    return _largest_change(patient) == 0
