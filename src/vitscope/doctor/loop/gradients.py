"""What the gradients were at the steps: cleared, old, gone. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.record import Record, Step
from vitscope.doctor.loop.words import counted
from vitscope.doctor.naming import listed

NEVER_CLEARED = Fault(
    "gradients-not-cleared",
    "L7",
    "loop-gradients",
    "error",
    Text(
        "backward() adds to the gradients that are there. What is not cleared stays in every later step: the steps follow a sum over old weights and "
        "old batches, grow, and overshoot.",
        "backward()は既存の勾配に加算します。クリアしないと以前の勾配がその後のすべてのステップに残ります。更新は古い重みと古いバッチの勾配の"
        "総和に従うようになり、次第に大きくなって行き過ぎます。",
    ),
    Text(
        "call optimizer.zero_grad() once for every optimizer.step(), before the backward",
        "optimizer.step()のたびに一度、backwardの前でoptimizer.zero_grad()を呼んでください",
    ),
    "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    explains=("loss-not-finite", "learning-rate-too-high"),
)
_ALL = Text(
    "clear the gradients of all parameters that the optimizer moves: optimizer.zero_grad(), not that of a part of the model",
    "モデルの一部のzero_grad()ではなく、optimizer.zero_grad()で、更新するすべてのパラメータの勾配をクリアしてください",
)
_ALL_CODE = "optimizer.zero_grad()   # not model.blocks.zero_grad()\nloss.backward()\noptimizer.step()"
CLEARED_BEFORE_STEP = Fault(
    "gradients-cleared-before-the-step",
    "L7",
    "loop-gradients",
    "error",
    Text(
        "A step with no gradient changes nothing (or only what weight decay and momentum do): the model does not learn.",
        "勾配のないステップでは何も変わりません（重み減衰とモーメンタムの分を除く）。モデルは学習しません。",
    ),
    Text(
        "move zero_grad() before backward() or behind step(), never between the two",
        "zero_grad()はbackward()の前かstep()の後に置き、両者の間には置かないでください",
    ),
    "optimizer.zero_grad()\nloss.backward()\noptimizer.step()",
    explains=("parameters-do-not-move", "loss-does-not-move"),
)
GONE = Fault(
    "no-gradient-at-the-step",
    "L7",
    "loop-gradients",
    "error",
    Text(
        "A step with no gradient changes nothing (or only what weight decay and momentum do): the model does not learn.",
        "勾配のないステップでは何も変わりません（重み減衰とモーメンタムの分を除く）。モデルは学習しません。",
    ),
    Text(
        "see what stands between backward() and step(): clipping to zero, a mask, a cleared gradient; and whether backward() is called at all",
        "backward()とstep()の間に何があるか（ゼロへのクリッピング、マスク、勾配のクリア）、そもそもbackward()が呼ばれているかを確認してください",
    ),
    explains=("parameters-do-not-move", "loss-does-not-move"),
)
CLIPPED = Fault(
    "gradients-clipped-to-nothing",
    "L7",
    "loop-gradients",
    "warning",
    Text(
        "With SGD the model stands almost still; with Adam the step drowns in its epsilon once gradients come near 1e-8.",
        "SGDではモデルがほとんど動きません。Adamでも、勾配が1e-8に近づくと更新がイプシロンに埋もれます。",
    ),
    Text(
        "clip to a norm that most steps do not reach: 1.0 is usual for ViTs; behind a GradScaler, unscale_ first",
        "ほとんどのステップで達しないノルムでクリップしてください（ViTでは1.0が一般的）。GradScalerを使う場合は先にunscale_を呼んでください",
    ),
    "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
    explains=("loss-does-not-move",),
)
CLIPPED_LATE = Fault(
    "gradients-clipped-after-the-step",
    "L7",
    "loop-gradients",
    "warning",
    Text(
        "The step has already been taken with the gradients as they were: clipping changes nothing any more, and what it was to guard against goes "
        "through.",
        "クリップする前の勾配でステップが済んでいます。クリップには何の効果もなく、防ぐはずだった大きな更新がそのまま行われます。",
    ),
    Text(
        "clip between backward() and step(); behind a GradScaler, unscale_ first",
        "クリップはbackward()とstep()の間で行ってください。GradScalerを使う場合は先にunscale_を呼んでください",
    ),
    "loss.backward()\ntorch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)\noptimizer.step()",
)
THROWN = Fault(
    "accumulated-gradients-thrown-away",
    "L7",
    "loop-gradients",
    "warning",
    Text(
        "Gradients of several batches were meant to add up, but only the last batch of each step counts: the others are computed for nothing.",
        "複数バッチの勾配を累積するはずが、各ステップで最後のバッチしか使われていません。残りのバッチの計算は無駄になっています。",
    ),
    Text(
        "call zero_grad() only where step() is called",
        "zero_grad()はstep()を呼ぶ場所でだけ呼んでください",
    ),
    "if (i + 1) % accumulate == 0:\n    optimizer.step()\n    optimizer.zero_grad()",
)


def gradients(record: Record) -> Iterator[Finding]:
    """Whether each step goes by the gradients that were made for it, and by nothing else.

    Does: looks at the gradients before each backward, after it and at each step: is what the last step used still there, is anything there at all.
    Finds: zero_grad missing, once per epoch or for a part of the parameters, zero_grad between backward and step, accumulation that is cleared each
    batch, clipping to nothing.
    Must not accuse: gradient accumulation (cleared at each of its steps), clearing by hand (`p.grad = None`), set_to_none=False, two optimizers.
    Source: PyTorch, "Zeroing out gradients".
    """
    steps = [step for step in record.steps if not step.closure]
    if record.uses_closure:
        raise Skipped(
            Text(
                "the optimizer calls a closure inside of its step, and clearing happens in there",
                "オプティマイザがステップの内部でクロージャを呼び、勾配のクリアもその中で行われるため、確認できません",
            )
        )
    if not record.held & {n for n, p in record.model.named_parameters() if p.requires_grad}:
        raise Skipped(
            Text(
                "the optimizer holds no parameter of the model that learns",
                "モデルの学習対象のパラメータが、オプティマイザに含まれていません",
            )
        )
    if len(steps) < 3:
        raise Skipped(
            Text(f"{counted(len(steps), 'step')} cannot tell", f"ステップが{len(steps)}回しかなく、判断できません")
        )
    yield from _old(record, steps)
    yield from _gone(steps)
    yield from _clipped(record, steps)
    yield from _clipped_late(steps)
    yield from _thrown(steps)


def _old(record: Record, steps: list[Step]) -> Iterator[Finding]:
    part = _left_in_part(record, steps)
    stale = [step for step in steps if step.stale]
    norms = [step.norm for step in steps if step.norm is not None]
    grew = norms[-1] / norms[0] if norms and norms[0] else float("nan")
    numbers = {"steps": len(steps), "gradient_norm_last_beside_first": grew}
    if part is not None:
        names, count, looked = part
        sizes = {name: p.numel() for name, p in record.model.named_parameters()}
        share = sum(sizes[name] for name in names) / max(sum(sizes[name] for name in record.held), 1)
        yield replace(NEVER_CLEARED, advice=_ALL, code=_ALL_CODE).found(
            Text(
                f"At {count} of the {looked} optimizer steps that were looked at, the gradients of {listed(names)} ({100 * share:.2g} % of what the "
                "optimizer holds) still held those of the step before: they are not cleared, the others are.",
                f"調べた{looked}ステップ中{count}ステップで、{listed(names)}（オプティマイザが持つ値の{100 * share:.2g} %）に"
                "前のステップの勾配が残っていました。"
                "ほかの勾配はクリアされていますが、これらはクリアされていません。",
            ),
            numbers | {"steps_with_old_gradients": count, "not_cleared": names, "share": share},
        )
    elif len(stale) >= 2 and len(stale) >= 0.25 * len(steps):
        yield NEVER_CLEARED.found(
            Text(
                f"At {len(stale)} of {len(steps)} optimizer steps the gradients still held those of the step before: zero_grad() is missing, or not "
                "called for every step.",
                f"オプティマイザの{len(steps)}ステップ中{len(stale)}ステップで、前のステップの勾配が残っていました。zero_grad()がないか、"
                "毎ステップ呼ばれていません。",
            ),
            numbers | {"steps_with_old_gradients": len(stale)},
        )


def _left_in_part(record: Record, steps: list[Step]) -> tuple[list[str], int, int] | None:
    """The names of the parameters whose gradients are not cleared where others' are, at how many steps that is so, and of how many; None where all
    are cleared alike."""
    looked = [step for step in steps if step.left is not None]
    names = record.names
    times = Counter(names[each] for step in looked for each in step.left or () if each in names)
    often = {name for name, count in times.items() if count >= 3 and count >= 0.25 * len(looked)}
    others = (record.held & record.arrived) - set(times)
    if not often or not others:
        return None
    count = sum(any(names.get(each) in often for each in step.left or ()) for step in looked)
    return [name for name in names.values() if name in often], count, len(looked)


def _gone(steps: list[Step]) -> Iterator[Finding]:
    empty = [step for step in steps if step.empty]
    if len(empty) < 2 or len(empty) < 0.5 * len(steps):
        return
    cleared = [step for step in empty if step.cleared]
    evidence = {"steps": len(steps), "steps_without_gradient": len(empty), "cleared_just_before": len(cleared)}
    if len(cleared) * 2 > len(empty):
        yield CLEARED_BEFORE_STEP.found(
            Text(
                f"At {len(empty)} of {len(steps)} optimizer steps there was no gradient left: zero_grad() was called between backward() and step().",
                f"オプティマイザの{len(steps)}ステップ中{len(empty)}ステップで勾配が残っていませんでした。backward()とstep()の間でzero_grad()が"
                "呼ばれています。",
            ),
            evidence,
        )
        return
    yield GONE.found(
        Text(
            f"At {len(empty)} of {len(steps)} optimizer steps every gradient was missing or exactly zero.",
            f"オプティマイザの{len(steps)}ステップ中{len(empty)}ステップで、すべての勾配が存在しないかちょうどゼロでした。",
        ),
        evidence,
    )


def _clipped(record: Record, steps: list[Step]) -> Iterator[Finding]:
    looked = [step for step in steps if step.shrunk is not None and step.norm is not None and not step.empty]
    if len(looked) < 3:
        return
    shrunk = median(step.shrunk for step in looked if step.shrunk is not None)
    norm = median(step.norm for step in looked if step.norm is not None)
    if shrunk < 1e-2 and norm < 1e-2:
        early = Text("", "")
        if record.saw_scaler:
            early = Text(
                " The scale of the GradScaler is not counted in this; gradients that are clipped before they are unscaled look so.",
                "GradScalerのスケールの分は除いてあります。unscale_の前にクリップすると、このようになります。",
            )
        yield CLIPPED.found(
            Text(
                f"Between backward() and step() the gradients shrink to {shrunk:.1e} of their size; what is left has a norm of {norm:.1e}.{early.en}",
                f"backward()とstep()の間で勾配が元の{shrunk:.1e}倍に縮み、残った勾配のノルムは{norm:.1e}です。{early.ja}",
            ),
            {"median_shrinkage": shrunk, "median_norm_at_the_step": norm},
        )


def _clipped_late(steps: list[Step]) -> Iterator[Finding]:
    """Behind the step gradients become smaller, and each time down to one and the same norm."""
    looked = [step.later for step in steps if step.later is not None]
    shrunk = [(before, after) for before, after in looked if after < 0.95 * before]
    norms, sizes = [after for _, after in shrunk], [before for before, _ in shrunk]
    if len(shrunk) < 3 or max(norms) > 1.001 * min(norms) or max(sizes) < 1.01 * min(sizes):
        return
    if any(after > 1.001 * max(before, norms[0]) for before, after in looked):
        return
    yield CLIPPED_LATE.found(
        Text(
            f"At {len(shrunk)} of the {len(looked)} steps that were looked at, the gradients are scaled down to a norm of {norms[0]:.3g} behind "
            f"optimizer.step(); the step itself went by a norm of up to {max(sizes):.3g}.",
            f"調べた{len(looked)}ステップ中{len(shrunk)}ステップで、optimizer.step()の後に勾配がノルム{norms[0]:.3g}まで縮められています。"
            f"ステップ自体は最大{max(sizes):.3g}のノルムで行われています。",
        ),
        {
            "steps": len(looked),
            "steps_clipped_late": len(shrunk),
            "norm": norms[0],
            "largest_norm_at_the_step": max(sizes),
        },
    )


def _thrown(steps: list[Step]) -> Iterator[Finding]:
    several = [step for step in steps if step.backwards >= 2 and step.batches == step.backwards]
    thrown = [step for step in several if step.thrown >= step.backwards - 1 and not step.cleared]
    if len(thrown) < 2 or len(thrown) < 0.8 * len(steps):
        return
    per_step = round(median(step.backwards for step in thrown))
    yield THROWN.found(
        Text(
            f"Each step comes after {per_step} batches, but zero_grad() for each: of {per_step} gradients only the last counts.",
            f"{per_step}バッチごとに1ステップですが、zero_grad()は毎バッチ呼ばれており、{per_step}個中{per_step - 1}個の勾配が失われています。",
        ),
        {"backwards_per_step": per_step, "steps": len(steps), "steps_with_lost_gradients": len(thrown)},
    )
