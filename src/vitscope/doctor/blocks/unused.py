"""Parameters that are held and do not work: never called (M14), or cut from the graph. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from typing import Any

from torch import nn

from vitscope._core.text import Text
from vitscope.doctor.blocks.census import Census, is_matrix
from vitscope.doctor.blocks.uncalled import Uncalled, attentions_of, is_idle, is_within, uncalled
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient

NEVER_CALLED = Fault(
    "module-never-called",
    "M14",
    "parameters",
    "error",
    Text(
        "A part that print(model) lists and forward does not call is not there: blocks without their MLP do not transform tokens, blocks without "
        "their attention do not let them meet.",
        "print(model)に表示されていても、forwardで呼ばれない部品は存在しないのと同じです。MLPのないブロックはトークンを変換できず、アテンションのない"
        "ブロックではトークンどうしが情報をやり取りできません。",
    ),
    Text(
        "call it in forward, or delete it; let the loop over the blocks run to its end before anything is returned",
        "forwardで呼び出すか、不要なら削除してください。ブロックのループは、最後まで回し終えてから値を返してください",
    ),
    "x = x + self.attn(self.norm1(x))\nx = x + self.mlp(self.norm2(x))",
    explains=("unused-parameters", "shared-blocks", "overfit", "token-mixing"),
)
_WITHOUT_ATTENTION = ("image-never-reaches-the-scores", "zero-gradient")
"""What follows too where nothing that is called could be an attention: a token that is no patch never meets one."""
UNUSED = Fault(
    "unused-parameters",
    "M14",
    "parameters",
    "warning",
    Text(
        "What is never used stays at its start values, and DistributedDataParallel stops at it. Often a layer was meant to be called.",
        "使われないパラメータは初期値のまま残り、DistributedDataParallelではエラーになります。呼び出し忘れた層であることもよくあります。",
    ),
    Text(
        "use it in forward (call the layer, add the position), or delete it",
        "forwardで使う（層を呼び出す、位置埋め込みを足す）か、不要なら削除してください",
    ),
)
THROWN_AWAY = Fault(
    "work-thrown-away",
    "M14",
    "parameters",
    "error",
    Text(
        "What is computed and then not used is not there: it costs time and memory, gets no gradient, and the scores are those of one without it.",
        "計算しても使われない部品は存在しないのと同じです。時間とメモリを使うだけで勾配も届かず、スコアはその部品のないモデルと変わりません。",
    ),
    Text(
        "keep what it returns: give it to the next block, add it to the stream, and read the scores from the end of it",
        "戻り値を受け取ってください。次のブロックに渡し、残差として足し、最後の出力からスコアを計算します",
    ),
    "for block in self.blocks:\n    x = block(x)   # and in a block: x = x + self.mlp(self.norm2(x))",
    explains=("shared-blocks", "overfit", "token-mixing"),
)
CUT = Fault(
    "cut-from-the-graph",
    "M14",
    "parameters",
    "error",
    Text(
        "The forward uses these numbers and no gradient comes back to them: they stay as they were drawn, however long the training takes.",
        "順伝播で使われているのに勾配が届かないため、どれだけ学習しても初期値のまま変わりません。",
    ),
    Text(
        "take detach(), .data, .item() and torch.no_grad() off the way from them to the scores; what is frozen on purpose gets requires_grad_(False)",
        "スコアまでの経路からdetach()、.data、.item()、torch.no_grad()を取り除いてください。意図して固定する場合はrequires_grad_(False)を使います",
    ),
    "x = x + self.pos_embed   # not self.pos_embed.data, not .detach()",
    explains=("overfit", "learning-rate", "gradient"),
)


def cut(patient: Patient, census: Census) -> Iterator[Finding]:
    """What the scores are made of and no gradient arrives at."""
    if not census.cut:
        return
    sizes = {name: parameter.numel() for name, parameter in patient.model.named_parameters()}
    lost, asked = sum(sizes[name] for name in census.cut), sum(sizes[name] for name in census.asking)
    share = lost / max(asked, 1)
    one = len(census.cut) == 1
    yield CUT.found(
        Text(
            f"{len(census.cut)} parameter{'' if one else 's'} ({100 * share:.1f} % of the numbers that should learn) "
            f"{'is used and gets' if one else 'are used and get'} no gradient: {listed(census.cut)}.",
            f"{len(census.cut)}個のパラメータ（学習すべき数値の{100 * share:.1f} %）は、使われているのに勾配が届きません: {listed(census.cut)}。",
        ),
        {"parameters": list(census.cut), "numbers": lost, "share": share},
        severity="error" if share > 0.5 else "warning",
    )


def unused(patient: Patient, census: Census) -> Iterator[Finding]:
    """What nothing is made of: whole branches of the blocks, whole blocks, and the rest."""
    idle = set(census.unused)
    tops = _topmost(patient.model, idle)
    never = uncalled(patient, tops, census.never_called)
    sizes = {name: parameter.numel() for name, parameter in patient.model.named_parameters()}
    if never.parts:
        lost = [name for name in census.unused if any(name.startswith(f"{path}.") for path in never.parts)]
        numbers = sum(sizes[name] for name in lost)
        fault = (
            NEVER_CALLED
            if never.attends
            else replace(NEVER_CALLED, explains=(*NEVER_CALLED.explains, *_WITHOUT_ATTENTION))
        )
        yield fault.found(
            _told(never, numbers),
            {"modules": never.parts, "numbers": numbers},
            severity="error" if never.is_error else "warning",
        )
        idle -= set(lost)
    modules = [path for path in tops if path not in never.parts]
    lost_work = _thrown_away(patient, modules, idle - census.never_called) if idle else None
    if lost_work is not None:
        parts, evidence = _with_parts(patient, census, idle - census.never_called)
        yield lost_work.found(
            Text(
                f"What {listed(parts)} compute{'s' if len(parts) == 1 else ''} is thrown away: the model's output does not use it "
                f"({evidence['numbers']:,} numbers).",
                f"{listed(parts)}（数値{evidence['numbers']:,}個）の計算結果が捨てられています。モデルの出力のどこにも使われていません。",
            ),
            evidence,
        )
        idle &= census.never_called
    if idle:
        parts, evidence = _with_parts(patient, census, idle)
        matters = any(is_matrix(patient.model.get_parameter(name)) for name in idle)
        yield UNUSED.found(
            Text(
                f"The model's output does not use {listed(parts)} ({evidence['numbers']:,} numbers).",
                f"{listed(parts)}（数値{evidence['numbers']:,}個）は、モデルの出力のどこにも使われていません。",
            ),
            evidence,
            severity="warning" if matters else "note",
        )


def _with_parts(patient: Patient, census: Census, names: Set[str]) -> tuple[list[str], dict[str, Any]]:
    """The outermost modules that hold nothing but these parameters, and the others of these by themselves; with the evidence for them."""
    modules = _topmost(patient.model, names)
    held = [name for name in census.unused if name in names]
    parts = modules + [name for name in held if not any(name.startswith(f"{path}.") for path in modules)]
    numbers = sum(patient.model.get_parameter(name).numel() for name in held)
    return parts, {"parts": parts, "parameters": held, "numbers": numbers}


def _thrown_away(patient: Patient, parts: Sequence[str], called: Set[str]) -> Fault | None:
    """The fault where what is called and not used are attentions or MLPs of most blocks, or all attentions that there are; None otherwise."""
    if uncalled(patient, parts, frozenset(called)).is_error:
        return THROWN_AWAY
    attentions = attentions_of(patient)
    everywhere = all(any(is_within(each.path, part) for part in parts) for each in attentions)
    if not (attentions and everywhere):
        return None
    return replace(THROWN_AWAY, explains=(*THROWN_AWAY.explains, *_WITHOUT_ATTENTION))


def _told(never: Uncalled, numbers: int) -> Text:
    """The sentence for the gravest of what is never called."""
    if never.stacks:
        return Text(
            f"No block is ever called: forward goes past {listed(never.stacks)}, which hold{'s' if len(never.stacks) == 1 else ''} {numbers:,} "
            "numbers, and no attention runs anywhere.",
            f"ブロックが1つも呼び出されていません。forwardは{listed(never.stacks)}（数値{numbers:,}個）を素通りし、アテンションはどこでも計算されません。",
        )
    one = len(never.parts) == 1
    are, they = ("is", "It holds") if one else ("are", "They hold")
    if never.branches:
        return Text(
            f"{'A whole part' if one else 'Whole parts'} of the blocks {are} never called: {listed(never.parts)}. {they} {numbers:,} numbers.",
            f"ブロックの部品が丸ごと呼び出されていません: {listed(never.parts)}（数値{numbers:,}個）。",
        )
    return Text(
        f"{len(never.blocks)} of {never.held} blocks {are} never called: {listed(never.blocks)}. {they} {numbers:,} numbers.",
        f"{never.held}ブロック中{len(never.blocks)}ブロックが一度も呼び出されていません: {listed(never.blocks)}（数値{numbers:,}個）。",
    )


def _topmost(model: nn.Module, idle: Set[str]) -> list[str]:
    """The outermost modules of which no parameter is used."""
    found: list[str] = []
    for path, module in model.named_modules():
        if path and not any(path.startswith(f"{other}.") for other in found) and is_idle(path, module, idle):
            found.append(path)
    return found
