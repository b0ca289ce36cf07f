"""Whether the token that the head reads is the one that was joined for it. In goes a patient, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.mixing.experiments import Tokens, with_noise
from vitscope.doctor.mixing.meeting import ways_in_and_out
from vitscope.doctor.patient import Patient
from vitscope.lens.tape import Tape

PATCH_READ = Fault(
    "one-patch-read-out",
    "M24",
    "pixel-coverage",
    "warning",
    Text(
        "One patch has to gather what the whole image shows, beside what it holds itself, and the token that was joined for that is only attended "
        "to. The model learns all the same, so nothing shows it; what the class token gathers in the last block is lost.",
        "1つのパッチが、自分の内容に加えて画像全体の情報も集めることになり、そのために追加したクラストークンは参照されるだけになります。"
        "学習は進むため気づきにくく、クラストークンが最後のブロックで集めた情報は捨てられます。",
    ),
    Text(
        "read the token where it was joined: joined in front it is token 0, joined behind it is token -1; or read the mean",
        "クラストークンを、連結した位置から読み出してください（先頭に連結したなら0番、末尾に連結したなら-1番）。または平均を読み出してください",
    ),
    "x = torch.cat([cls, x], dim=1)   # and: head(x[:, 0])",
)


def one_patch_read(patient: Patient) -> Iterator[Finding]:
    """A single patch whose token is all that the scores hang on behind the last block, though tokens were joined that are no patches."""
    try:
        layout, ways = patient.layout, ways_in_and_out(patient)
        if patient.dtype != torch.float64 or ways is None or not layout.extra or patient.anatomy.read_outs:
            return
        start, end = ways
        count, ends = (len(each.of(patient.tape.value(each.call))) for each in ways)
        if count != ends or count != len(layout.patch_of_token) or len(start.call.outputs[0]) > 1:
            return
        token = _only_one_read(patient, end, count)
    except (Skipped, LensError, RuntimeError):
        return
    if token is None or layout.patch_of_token[token] < 0:
        return
    extra = ", ".join(map(str, layout.extra[:3]))
    first = -1 if layout.extra == (count - 1,) else layout.extra[0]
    yield replace(PATCH_READ, code=f"return self.head(self.norm(x)[:, {first}])   # not [:, {token}]").found(
        Text(
            f"Of {count} tokens the scores read one behind the last block, number {token}, which is a patch; what is no patch is number {extra}, and "
            "is not read.",
            f"スコアが最後のブロックの後で読み出すのは、{count}個のトークンのうち{token}番だけで、これはパッチです。パッチでないトークンは{extra}番ですが、"
            "読み出されていません。",
        ),
        {"token_read": token, "patch_read": layout.patch_of_token[token], "extra_tokens": list(layout.extra)},
    )


def _only_one_read(patient: Patient, end: Tokens, count: int) -> int | None:
    """The one token that the scores hang on, found by halves: noise in the place of all others changes nothing. None where they hang on more, or on
    none."""
    tape, left = patient.tape, list(range(count))
    while len(left) > 1:
        half = left[: len(left) // 2]
        rest = [token for token in range(count) if token not in half]
        if not _changes(patient, tape, end, rest):
            left = half
        elif not _changes(patient, tape, end, half):
            left = left[len(left) // 2 :]
        else:
            return None
    others = [token for token in range(count) if token != left[0]]
    return left[0] if _changes(patient, tape, end, left) and not _changes(patient, tape, end, others) else None


def _changes(patient: Patient, tape: Tape, end: Tokens, tokens: list[int]) -> bool:
    """Whether the scores change with some tokens."""
    logits = patient.anatomy.logits
    return not torch.equal(tape.play(with_noise(tape, end, tokens, 0), logits), tape.value(logits))
