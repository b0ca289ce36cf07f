"""Patches of which no block lets one hear of another. In goes a patient with what its masks leave open, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.mixing.batch_axis import attentions_along_the_batch
from vitscope.doctor.mixing.behind import Meeting, meeting_behind
from vitscope.doctor.mixing.experiments import Tokens
from vitscope.doctor.mixing.masks import unmasked
from vitscope.doctor.mixing.meeting import Groups, groups_of, mixes_behind, ways_in_and_out
from vitscope.doctor.mixing.unproven import tokens_without_meeting
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.attention import Attention
from vitscope.lens.blocks import Block

OUTER = 4
"""So many parts of height and width has an image; what reads from the first and the last of both is a view of it, not a piece."""
NEVER_MEET = Fault(
    "patches-never-meet",
    "M3",
    "token-mixing",
    "error",
    Text(
        "What makes a transformer is that patches tell each other what they hold. Without that, each patch (or group of them) is judged by itself "
        "and the opinions are averaged: a shape larger than it cannot be recognised.",
        "Transformerの要は、パッチどうしが情報を交換することです。それがなければ、各パッチ（またはそのグループ）は単独で判断され、"
        "結果が平均されるだけになり、それより大きな形は認識できません。",
    ),
    Text(
        "let attention run along the tokens, all of one image: (batch, tokens, width) with batch_first=True; and in a mask, look which value means "
        "'may attend' (True in scaled_dot_product_attention, False in nn.MultiheadAttention)",
        "アテンションは1枚の画像の全トークンに沿って計算してください（batch_first=Trueで(バッチ, トークン, 幅)の順）。マスクを使う場合は、"
        "どちらの値が「参照してよい」かを確認してください（scaled_dot_product_attentionではTrue、nn.MultiheadAttentionではFalse）",
    ),
    "F.scaled_dot_product_attention(q, k, v)   # q, k, v: batch, heads, tokens, width; no mask",
    explains=("overfit", "heads-collapsed", "position", "image-never-reaches-the-scores", "zero-gradient"),
)


def apart(
    patient: Patient,
    blocks: tuple[Block, ...],
    pairs: list[Tensor],
    start: Tokens,
    end: Tokens,
    extra: tuple[int, ...],
) -> Iterator[Finding]:
    """Patches of which no block lets one hear of another, now and after some steps of training."""
    if patient.anatomy.read_outs or mixes_behind(patient.tape, end):  # they meet there
        return
    groups = groups_of(patient, start, end, extra)
    if len(groups.sizes) < 2:
        return
    rows = _rows(patient, start, groups, extra)
    if rows and all(_is_a_view(patient, start, row) for row in rows[:2]):
        return  # views, channels or scales, side by side in the batch
    behind = _behind(patient, extra, are_rows=bool(rows))
    if behind is None or behind == "in order" or (behind == "pooled" and rows):
        return
    tokens = len(start.of(patient.tape.value(start.call)))
    how = _mechanism(patient, [block.attention for block in blocks], pairs, tokens)
    path = blocks[0].attention.path
    yield (NEVER_MEET if all(map(torch.all, pairs)) else unmasked(NEVER_MEET, patient.model, path)).found(
        Text(
            f"Patches never meet: in all {len(blocks)} blocks together, {_met(groups).en}. {how.en}{_BEHIND[behind].en}",
            f"パッチどうしが情報をやり取りしません。全{len(blocks)}ブロックを通しても、{_met(groups).ja}。{how.ja}{_BEHIND[behind].ja}",
        ),
        {
            "patches": groups.patches,
            "group_sizes": list(groups.sizes),
            "are_all_groups": groups.are_all,
            "keys_of_each_attention": [int(each.shape[-1]) for each in pairs],
            "share_of_pairs_forbidden": [1 - float(each.double().mean()) for each in pairs],
            "meet_behind_the_blocks": behind,
        },
        severity="error" if behind == "not at all" else "warning",
    )


_BEHIND: dict[Meeting, Text] = {
    "not at all": Text("", ""),
    "linearly": Text(
        " What mixes them behind the blocks is linear: the scores are still the sum of what each group gives by itself.",
        "ブロックの後でパッチは混ざりますが、その混合は線形なので、スコアは各グループが単独で出す値の和のままです。",
    ),
    "pooled": Text(
        " They meet only in the head, in what is left of all of them once they are pooled.",
        "情報が混ざるのは、全パッチを1つにまとめた後のヘッドの中だけです。",
    ),
    "unknown": Text(
        " Whether they meet behind the blocks could not be tried.",
        "ブロックの後で混ざるかどうかは確かめられませんでした。",
    ),
}


def _rows(patient: Patient, start: Tokens, groups: Groups, extra: tuple[int, ...]) -> list[list[int]]:
    """The tokens of each group and those beside them that are no patches, where the groups are what lies side by side in the batch of one image;
    nothing where they are others, or single patches."""
    given = start.call.outputs[0]
    count = len(start.of(given))
    rows = [list(range(first, first + count // len(given))) for first in range(0, count, count // len(given))]
    patches = [tuple(token for token in row if token not in extra) for row in rows]
    if len(rows) < 2 or len(patches[0]) < 2 or not set(groups.members) <= set(patches):
        return []
    return rows


@torch.no_grad()
def _is_a_view(patient: Patient, start: Tokens, row: list[int]) -> bool:
    """Whether some tokens change with pixels at each of the image's four sides."""
    tape, was = patient.tape, start.of(patient.tape.value(start.call))[row]
    noise = patient.noise(1, seed=6)
    for axis in (-2, -1):
        strip = tape.image.shape[axis] // OUTER
        for first in (0, tape.image.shape[axis] - strip):
            image = tape.image.clone()
            image.narrow(axis, first, strip).add_(noise.narrow(axis, first, strip))
            if torch.equal(start.of(tape.play({None: image}, start.call))[row], was):
                return False
    return True


def apart_unproved(patient: Patient) -> Iterator[Finding]:
    """Tokens of which none hears of another, though scores are computed between them; where attention itself was not followed."""
    found = None if patient.batch is not None else tokens_without_meeting(patient)
    if found is None or not (patient.is_trained or tokens_without_meeting(patient.trained)):
        return
    tokens, softmaxes, attentions = found
    if not softmaxes:
        yield NEVER_MEET.found(
            Text(
                f"Patches never meet: {attentions} attentions are computed, and none of {tokens} tokens hears of any other behind them.",
                f"パッチどうしが情報をやり取りしません。アテンションは{attentions}回計算されていますが、その後も{tokens}個のトークンはどれもほかのトークンの情報を受け取りません。",
            ),
            {"tokens": tokens, "attentions": attentions},
        )
        return
    yield NEVER_MEET.found(
        Text(
            f"Patches never meet: {softmaxes} softmaxes of queries · keys are computed, and none of {tokens} tokens hears of any other behind them. "
            "The shares are not multiplied with the values of other tokens.",
            f"パッチどうしが情報をやり取りしません。クエリとキーの内積のsoftmaxは{softmaxes}回計算されていますが、その後も{tokens}個のトークンはどれもほかのトークンの"
            "情報を受け取りません。重みが、ほかのトークンのバリューに掛けられていません。",
        ),
        {"tokens": tokens, "softmaxes": softmaxes},
    )


def _behind(patient: Patient, extra: tuple[int, ...], *, are_rows: bool) -> Meeting | None:
    """How the patches meet behind the blocks, after some steps of training: branches and heads that start at zero let nothing meet at first. None
    where by then they meet before that."""
    later = patient if patient.is_trained else patient.trained
    ways = ways_in_and_out(later)
    groups = None if ways is None else groups_of(later, *ways, extra)
    if ways is None or groups is None or len(groups.sizes) < 2:
        return None
    start, end = ways
    count, ends = (len(each.of(later.tape.value(each.call))) for each in ways)
    rows = _rows(later, start, groups, extra) if are_rows else []
    chosen = [next((row for row in rows if each[0] in row), list(each)) for each in groups.members[:2]]
    left = [token for token in range(count) if rows or token not in extra]
    return meeting_behind(later, end if ends == count else start, chosen, left)


def _met(groups: Groups) -> Text:
    size = max(groups.sizes)
    if size == 1:
        return Text(
            f"none of {groups.patches} patches hears of any other",
            f"{groups.patches}個のパッチはどれも、ほかのパッチの情報を受け取りません",
        )
    count = Text(f"{len(groups.sizes)}", f"{len(groups.sizes)}個")
    if not groups.are_all:
        count = Text(f"{len(groups.sizes)} or more", f"{len(groups.sizes)}個以上")
    return Text(
        f"the {groups.patches} patches stay in {count.en} groups (the largest of {size}) that never hear of one another",
        f"{groups.patches}個のパッチは{count.ja}のグループ（最大{size}個）に分かれたままで、グループ間で情報がやり取りされません",
    )


def _mechanism(patient: Patient, attentions: list[Attention], pairs: list[Tensor], tokens: int) -> Text:
    keys = max(int(each.shape[-1]) for each in pairs)
    across = attentions_along_the_batch(patient) if keys == 1 else ()
    if across:
        return Text(
            f"Attention runs along the batch ({listed(list(across))}): a patch meets those at its place in other images.",
            f"アテンションがバッチ方向に計算されており（{listed(list(across))}）、パッチが情報をやり取りするのはほかの画像の同じ位置のパッチだけです。",
        )
    if keys == 1:
        return Text(
            f"Attention runs along an axis of length 1 instead of along the {tokens} tokens.",
            f"アテンションが、{tokens}個のトークンの軸ではなく、長さ1の軸に沿って計算されています。",
        )
    forbidden = 100 * (1 - sum(float(each.double().mean()) for each in pairs) / len(pairs))
    if forbidden > 0:
        where = listed([each.path or "the model" for each in attentions])
        return Text(
            f"A mask forbids {forbidden:.1f} % of the pairs, the same in every block ({where}).",
            f"マスクが、トークンの組の{forbidden:.1f} %で参照を禁じています。どのブロックでも同じ組です（{where}）。",
        )
    return Text(
        f"Each attention compares {keys} of {tokens} tokens at a time, the same ones in every block.",
        f"各アテンションは{tokens}個中{keys}個のトークンしか比較せず、その組はどのブロックでも同じです。",
    )
