"""Whether the optimizer holds what the model is made of, steps, and moves it. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.cut import cut_off
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.words import counted
from vitscope.doctor.naming import listed

MOST_NAMES = 20
"""How many names a finding lists."""
_ADVICE = Text(
    "create the optimizer after the model is final: heads swapped, layers added, weights loaded into it",
    "オプティマイザは、ヘッドの差し替えや層の追加、重みの読み込みを終えてモデルが確定した後に作成してください",
)
_CODE = (
    "model.head = nn.Linear(dim, classes)\noptimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)   # afterwards"
)
OTHERS = Fault(
    "optimizer-holds-another-model",
    "L8",
    "loop-parameters",
    "error",
    Text(
        "The steps change parameters that the model does not have; the model itself stays as it was, whatever the loss says.",
        "ステップが更新するのはモデルにないパラメータです。損失がどうであれ、モデル自体は変わりません。",
    ),
    _ADVICE,
    _CODE,
    explains=(
        "parameters-do-not-move",
        "parameters-left-out",
        "parameters-replaced",
        "loss-detached",
        "no-gradient-at-the-step",
        "loss-does-not-move",
    ),
)
REPLACED = Fault(
    "parameters-replaced",
    "L8",
    "loop-parameters",
    "error",
    Text(
        "What was put into the model after the optimizer was made is never updated: it stays at its random start.",
        "オプティマイザの作成後にモデルへ組み込まれた部分は一度も更新されず、乱数による初期値のままです。",
    ),
    _ADVICE,
    _CODE,
    explains=("parameters-left-out",),
)
LEFT_OUT = Fault(
    "parameters-left-out",
    "L8",
    "loop-parameters",
    "warning",
    Text(
        "Their gradients are computed at every step, and they stay at their start values.",
        "毎ステップ勾配が計算されているのに、初期値のまま変わりません。",
    ),
    Text(
        "give all of the model's parameters to the optimizer; where some are meant to stay, set requires_grad=False on them, which saves the work",
        "モデルの全パラメータをオプティマイザに渡してください。固定したいパラメータにはrequires_grad=Falseを設定すれば計算も節約できます",
    ),
    "optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)",
)
STILL = Fault(
    "parameters-do-not-move",
    "L8",
    "loop-parameters",
    "error",
    Text("A model whose parameters do not change does not learn.", "パラメータが変わらないモデルは学習しません。"),
    Text(
        "look at the gradients at the step (cleared? detached?) and at the learning rate",
        "ステップ時の勾配（クリアされたり、計算グラフから切り離されたりしていないか）と学習率を確認してください",
    ),
    explains=("loss-does-not-move",),
)
NO_STEP = Fault(
    "no-step",
    "L8",
    "loop-parameters",
    "error",
    Text(
        "Gradients alone change nothing: the model does not learn.",
        "勾配を計算するだけでは何も変わらず、モデルは学習しません。",
    ),
    Text("call optimizer.step() after backward()", "backward()の後にoptimizer.step()を呼んでください"),
    "loss.backward()\noptimizer.step()",
    explains=("parameters-do-not-move",),
)


def parameters(record: Record) -> Iterator[Finding]:
    """Whether the optimizer's steps reach the model.

    Does: compares the identities of the optimizer's parameters with the model's, and a few numbers of each before and after the block.
    Finds: an optimizer of another or an older model, a head swapped after it was made, parameters left out, parameters that scores are made of and
    no gradient comes to, no step at all, nothing that moves.
    Must not accuse: frozen backbones, second heads and mask tokens that are used elsewhere, dropped layers, several optimizers (what another one
    moves is none of it), parameters of a loss, optimizers that step by methods of their own.
    Source: PyTorch, torch.optim, "Constructing it".
    """
    if not record.backwards and not record.steps:
        raise Skipped(Text("no backward and no step was seen", "backwardもstepも観測されませんでした"))
    learns = {name for name, p in record.model.named_parameters() if p.requires_grad}
    if not record.steps:
        yield from _no_step(record)
        return
    moved = {name for name, did in record.moved.items() if did}
    strangers = sum(id(p) not in record.names for g in record.optimizer.param_groups for p in g["params"])
    missing = learns - record.held - moved
    if learns and not record.held and not moved & learns:
        yield OTHERS.found(
            Text(
                f"The optimizer holds {counted(strangers, 'parameter')}, none of them the model's: after "
                f"{counted(len(record.steps), 'step')} the model is "
                "exactly what it was.",
                f"オプティマイザが持つ{strangers}個のパラメータは、どれもこのモデルのものではありません。{len(record.steps)}ステップ後も、"
                "モデルはまったく変わっていません。",
            ),
            {"foreign_parameters": strangers, "parameters": len(learns), "steps": len(record.steps)},
        )
        return
    if missing and strangers:
        yield from _replaced(record, missing, strangers)
    elif missing:
        yield from _left_out(record, missing, learns)
    yield from cut_off(record)
    yield from _still(record, moved)


def _no_step(record: Record) -> Iterator[Finding]:
    count = len(record.backwards)
    if any(record.moved.values()):
        raise Skipped(
            Text(
                "the parameters move, but not by a step of this optimizer: it was not watched, or another one is at work",
                "パラメータは動いていますが、このオプティマイザのstepによるものではありません（監視外か、別のオプティマイザです）",
            )
        )
    evidence = {"backwards": count, "steps": 0, "skipped_by_the_scaler": record.scaler_skips}
    if record.scaler_skips:
        skipped = "the only step" if record.scaler_skips == 1 else f"all {record.scaler_skips} steps"
        yield NO_STEP.found(
            Text(
                f"The GradScaler skipped {skipped}: the gradients were not finite. A few at the start are usual.",
                f"GradScalerが{record.scaler_skips}回のステップをすべて飛ばしました。勾配が有限でなかったためです。開始直後の数回なら普通です。",
            ),
            evidence,
            severity="warning" if record.scaler_skips < 20 else "error",
        )
        return
    through = any(each.exhausted for each in record.train_passes())
    if count < 2:
        raise Skipped(Text("only one backward was seen", "backwardが1回しか観測されませんでした"))
    sure = through or record.cleared >= 2  # before, gradients may be accumulating
    yield NO_STEP.found(
        Text(
            f"backward() ran {count} times and optimizer.step() not once.",
            f"backward()は{count}回実行されましたが、optimizer.step()は一度も呼ばれていません。",
        ),
        evidence,
        severity="error" if sure else "note",
    )


def _replaced(record: Record, missing: set[str], strangers: int) -> Iterator[Finding]:
    """Some of the optimizer's parameters are not in the model, some of the model's are not in the optimizer, and nothing else moves these."""
    if not missing & record.arrived:
        return
    yield REPLACED.found(
        Text(
            f"{listed(sorted(missing))} of the model {'are' if len(missing) > 1 else 'is'} not in the optimizer, which holds "
            f"{counted(strangers, 'parameter')} that the model no longer has: the model was changed after the optimizer was made.",
            f"モデルの{listed(sorted(missing))}がオプティマイザに含まれていません。逆にオプティマイザは、モデルにもうないパラメータを{strangers}個持っています。"
            "オプティマイザの作成後にモデルが変更されています。",
        ),
        {"not_held": sorted(missing)[:MOST_NAMES], "count": len(missing), "foreign_parameters": strangers},
    )


def _left_out(record: Record, missing: set[str], learns: set[str]) -> Iterator[Finding]:
    reached = missing & record.arrived
    if not reached:
        return
    sizes = {name: p.numel() for name, p in record.model.named_parameters()}
    share = sum(sizes[name] for name in reached) / sum(sizes[name] for name in learns)
    last = [name for name, _ in record.model.named_parameters()][-1].rpartition(".")[0]
    has_head = any(name.rpartition(".")[0] == last for name in reached)
    verbs = "get gradients, but are not in the optimizer: they stay"
    if len(reached) == 1:
        verbs = "gets gradients, but is not in the optimizer: it stays"
    yield LEFT_OUT.found(
        Text(
            f"{listed(sorted(reached))} ({100 * share:.1f} % of what could learn) {verbs}.",
            f"{listed(sorted(reached))}（学習可能な値の{100 * share:.1f} %）には勾配が届いていますが、"
            "オプティマイザに含まれていないため、値が変わりません。",
        ),
        {
            "not_held": sorted(reached)[:MOST_NAMES],
            "count": len(reached),
            "share": share,
            "is_output_layer_among_them": has_head,
        },
        severity="warning" if has_head or share < 0.5 else "note",
    )


def _still(record: Record, moved: set[str]) -> Iterator[Finding]:
    held = record.held & {name for name, p in record.model.named_parameters() if p.requires_grad}
    count, largest = len(record.steps), max(record.rates, default=None)
    if not held or held & moved or count < 3:
        return
    if largest == 0:
        raise Skipped(
            Text("the learning rate was 0 at every step that was seen", "観測したすべてのステップで学習率が0でした")
        )
    at = Text("", "")
    if largest is not None:
        at = Text(f", at a learning rate of up to {largest:.2g}", f"学習率（最大{largest:.2g}）で")
    yield STILL.found(
        Text(
            f"After {count} steps{at.en}, every parameter that the optimizer holds is exactly what it was.",
            f"{at.ja}{count}ステップ進んでも、オプティマイザが持つパラメータはどれもまったく変わっていません。",
        ),
        {"steps": count, "largest_lr": largest, "parameters": len(held)},
    )
