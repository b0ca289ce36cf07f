"""Blocks that do nothing: their result is thrown away, or they give what they are given. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from torch import Tensor, nn

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.doctor.blocks.census import goes_through_python, tensors_in
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.naming import listed
from vitscope.doctor.patient import Patient
from vitscope.lens.attention import Attention
from vitscope.lens.flow import ancestors, mixes_channels

NOTHING = 1e-9
"""Change beside the largest number, up to which a block does nothing; a sum with zeros leaves none in any precision."""
LEAST_PRODUCTS = 3
"""Products behind the last attention from which there is an MLP beside the head."""

THROWN_AWAY = Fault(
    "block-result-unused",
    "M16",
    "residual",
    "error",
    Text(
        "A block whose result is thrown away costs time and memory and learns nothing: the model is less deep than it says.",
        "結果が捨てられるブロックは、時間とメモリを使うだけで何も学習しません。モデルは見かけより浅くなっています。",
    ),
    Text(
        "give each block what the one before it gave, and keep the result",
        "各ブロックには直前のブロックの出力を渡し、結果を受け取ってください",
    ),
    "for block in self.blocks:\n    x = block(x)   # not out = block(x)",
    explains=("unused-parameters", "work-thrown-away"),
)
_WITHOUT_ATTENTION = (
    *THROWN_AWAY.explains,
    "image-never-reaches-the-scores",
    "zero-gradient",
    "overfit",
    "token-mixing",
)
"""What follows where no attention is used: a token that is no patch never meets one."""
DOES_NOTHING = Fault(
    "block-does-nothing",
    "M16",
    "residual",
    "error",
    Text(
        "A block that gives exactly what it is given, before training and after some steps, is no block: something multiplies its branches by zero.",
        "初期状態でも数ステップ学習した後でも、入力をそのまま返すだけのブロックは、ないのと同じです。残差ブランチにゼロが掛けられています。",
    ),
    Text(
        "look for the factor of zero: a survival probability, a mask, a scale that nothing learns",
        "ゼロの係数を探してください。生存確率（stochastic depth）、マスク、学習されないスケールなどが考えられます",
    ),
    "rates = torch.linspace(0, 0.1, depth)   # of dropping a branch; none may reach 1",
    explains=("unused-parameters", "zero-gradient", "image-never-reaches-the-scores"),
)
FROM_ZERO = Fault(
    "zero-initialised-block",
    "M16",
    "residual",
    "note",
    Text(
        "Branches that start at zero are a usual choice: each block begins as the identity and wakes with the first steps.",
        "残差ブランチをゼロで初期化するのはよくある設計です。各ブロックは恒等写像から始まり、最初の数ステップで動き出します。",
    ),
    Text("nothing to do", "対処は不要です"),
)


def dead(patient: Patient) -> Iterator[Finding]:
    """Both kinds of dead block.

    Raises:
        Skipped: attentions or blocks were not found; what was thrown away is said before.
    """
    yield from _thrown_away(patient)
    silent = _silent(patient)
    if not silent:
        return
    still = sorted(set(silent) & set(_silent(patient.trained))) if not patient.is_trained else silent
    blocks = patient.anatomy.blocks
    if still:
        names = [f"{number} ({blocks[number].path or 'the model'})" for number in still]
        yield DOES_NOTHING.found(
            Text(
                f"{len(still)} of {len(blocks)} blocks {'does' if len(still) == 1 else 'do'} nothing: what leaves is exactly what "
                f"enters, at the start and after some steps of training: {listed(names)}.",
                f"{len(blocks)}ブロック中{len(still)}ブロックが何もしていません（{listed(names)}）。初期状態でも数ステップ学習した後でも、出力が入力と完全に"
                "一致します。",
            ),
            {"dead_blocks": still, "blocks": len(blocks), "change": 0.0},
            severity="warning" if patient.is_trained else "error",
        )
    else:
        yield FROM_ZERO.found(
            Text(
                f"{len(silent)} of {len(blocks)} blocks change{'s' if len(silent) == 1 else ''} nothing at the start and something after some steps: "
                "the branches are zero-initialised.",
                f"{len(blocks)}ブロック中{len(silent)}ブロックは、初期状態では何も変えず、"
                "数ステップ学習すると動き出します。残差ブランチがゼロで初期化されています。",
            ),
            {"blocks_from_zero": silent, "blocks": len(blocks)},
        )


def _silent(patient: Patient) -> list[int]:
    """The blocks that give what they are given."""
    found: list[int] = []
    for number, block in enumerate(patient.anatomy.blocks):
        if block.enters is None or block.leaves is None:
            continue
        try:
            given, gives = patient.tape.value(block.enters), patient.tape.value(block.leaves)
        except LensError:
            continue
        if given.numel() == gives.numel() and _apart(given, gives.reshape(given.shape)) <= NOTHING:
            found.append(number)
    return found


def _apart(given: Tensor, gives: Tensor) -> float:
    return float((gives - given).abs().max()) / max(float(given.abs().max()), 1e-300)


def _thrown_away(patient: Patient) -> Iterator[Finding]:
    """Attentions that are computed and that nothing is made of, in a model that goes on with others of their kind, or with the rest of their
    blocks."""
    attentions = patient.attentions
    tape = patient.tape
    makers = [tape.maker(tensor) for tensor in tensors_in(patient._known["answer"])]
    kept = set[int]().union(*(ancestors(maker) for maker in makers if maker is not None))
    lost = [each for each in attentions if kept and each.ends.number not in kept]
    used = [each for each in attentions if each.ends.number in kept]
    if not lost:
        return
    if not used:
        yield from _all_thrown_away(patient, lost, kept)
        return
    kinds = {_kind(patient.model, each) for each in used}
    alike = [each for each in lost if _kind(patient.model, each) in kinds]
    names = list(dict.fromkeys(_block_of(patient.model, each, used) for each in lost))
    yield THROWN_AWAY.found(
        _told(len(lost), len(attentions), names),
        {"thrown_away": names, "attentions": len(attentions)},
        severity="error" if alike else "warning",
    )


def _all_thrown_away(patient: Patient, lost: list[Attention], kept: set[int]) -> Iterator[Finding]:
    """The same, where none of a model's attentions is used, and something else of their blocks is: their MLPs. Where nothing of the blocks is, or
    the scores do not come from an operation, the fault is another one."""
    if goes_through_python(patient):
        return
    products = [call.number for call in patient.tape.calls if call.number in kept and mixes_channels(call)]
    ends = [each.ends.number for each in lost]
    between = [
        sum(one < number < other for number in products) for one, other in pairwise([*ends, len(patient.tape.calls)])
    ]
    if not all(between[:-1]) or between[-1] < LEAST_PRODUCTS:
        return
    names = [each.path or "the model" for each in lost]
    yield replace(THROWN_AWAY, explains=_WITHOUT_ATTENTION).found(
        _told(len(lost), len(lost), names), {"thrown_away": names, "attentions": len(lost)}
    )


def _told(lost: int, held: int, names: list[str]) -> Text:
    return Text(
        f"The result of {lost} of {held} attention{'' if held == 1 else 's'} is thrown away: nothing that comes out is made of {listed(names)}.",
        f"{held}個中{lost}個のアテンションの結果が捨てられています。モデルの出力は{listed(names)}をまったく使っていません。",
    )


def _kind(model: nn.Module, attention: Attention) -> tuple[object, ...]:
    """What tells attentions of other kinds apart: their module's class and the shapes of its parameters, and how many heads they have."""
    module = model.get_submodule(attention.path)
    return (type(module).__name__, len(attention.map), *(tuple(p.shape) for p in module.parameters()))


def _block_of(model: nn.Module, attention: Attention, used: list[Attention]) -> str:
    """The outermost module that holds an attention and none of those that are used."""
    parts = attention.path.split(".")
    for length in range(1, len(parts) + 1):
        path = ".".join(parts[:length])
        if not any(f"{each.path}.".startswith(f"{path}.") for each in used):
            return path
    return attention.path or "the model"
