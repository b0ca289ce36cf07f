"""Training and evaluation mode where they belong, and how much training mode costs. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby, pairwise
from math import log
from statistics import median

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.fit import cross_entropy
from vitscope.doctor.loop.record import Forward, Record
from vitscope.doctor.loop.words import counted

EVAL_STEPS = Fault(
    "trained-in-evaluation-mode",
    "L10",
    "loop-modes",
    "warning",
    Text(
        "In evaluation mode dropout and stochastic depth are off and batch norms do not follow the data: the model overfits, or lags behind.",
        "評価モードではドロップアウトやstochastic depthが無効になり、バッチ正規化の統計も更新されません。過学習したり統計が古くなったりします。",
    ),
    Text(
        "call model.train() at the top of each epoch, behind the validation of the last",
        "各エポックの先頭（前回の検証の後）でmodel.train()を呼んでください",
    ),
    "for epoch in range(epochs):\n    model.train()",
)
TRAIN_VALIDATION = Fault(
    "validated-in-training-mode",
    "E1",
    "loop-modes",
    "warning",
    Text(
        "With dropout on, the measured accuracy is too low and differs from run to run; batch norms even learn from the validation images.",
        "ドロップアウトが効いたままでは、正解率が実際より低く、測るたびに変わります。バッチ正規化は検証画像から統計を学習してしまいます。",
    ),
    Text(
        "call model.eval() before the validation and model.train() after it",
        "検証の前にmodel.eval()、後にmodel.train()を呼んでください",
    ),
    "model.eval()\nwith torch.no_grad():\n    ...\nmodel.train()",
)
DROPOUT = Fault(
    "too-much-dropout",
    "L11",
    "loop-modes",
    "warning",
    Text(
        "What dropout takes away has to be learned around. A ViT trained from scratch tends to underfit anyway, and now learns slowly or not at all.",
        "ドロップアウトで失われる分を補いながら学習することになります。スクラッチから学習するViTはもともと学習不足になりやすく、さらに遅くなるか、"
        "まったく進まなくなります。",
    ),
    Text(
        "dropout of 0.1 at most for training from scratch; stochastic depth and augmentation regularise a ViT better",
        "スクラッチから学習する場合、ドロップアウトは0.1以下にしてください。ViTの正則化にはstochastic depthやデータ拡張のほうが有効です",
    ),
    "dropout=0.1",
)
VALIDATION_STEPS = Fault(
    "trained-on-validation-batches",
    "D3",
    "loop-modes",
    "warning",
    Text(
        "What was trained on says nothing about new images: the validation accuracy is no longer one.",
        "学習に使った画像では、未知の画像に対する性能は測れません。検証画像の正解率が意味を失います。",
    ),
    Text("no backward and no step in the validation loop", "検証ループではbackwardとstepを実行しないでください"),
    "with torch.no_grad():\n    scores = model(images)",
)
UNSEEN = Fault(
    "watched-model-never-called",
    "L10",
    "loop-modes",
    "note",
    Text(
        "Nothing is known of the model's modes, of its scores and of what the loss is; only the optimizer and the loaders were seen at work.",
        "モデルのモード、出力スコア、損失の種類は調べられません。観測できたのはオプティマイザとローダーの動作だけです。",
    ),
    Text(
        "give watch the object that the loop calls: what torch.compile gave back, the wrapper, the model and not model.forward",
        "ループで実際に呼び出しているオブジェクト（torch.compileの戻り値やラッパー）をwatchに渡してください。model.forwardではなくmodel(images)と"
        "呼び出してください",
    ),
    "compiled = torch.compile(model)\nwith vitscope.watch(compiled, optimizer, loader) as watched:\n    scores = compiled(images)",
)
_CLEAR = Text(
    "no backward in the validation loop; where one is needed there, call optimizer.zero_grad() behind it",
    "検証ループではbackwardを実行しないでください。必要な場合は、その後でoptimizer.zero_grad()を呼んでください",
)
_INSIDE = Text(
    "the model is put into evaluation mode within the epoch: call model.train() behind each measurement inside of the loop, or measure on the scores "
    "that the training step has computed",
    "エポックの途中で評価モードに切り替わっています。ループの中で測定するたびに、その直後でmodel.train()を呼ぶか、学習ステップで計算したスコアを使って"
    "測定してください",
)
_INSIDE_CODE = "model.eval()\nwith torch.no_grad():\n    ...\nmodel.train()"
_HARMLESS = Text(
    "It does no harm now, and will as soon as the model has dropout or batch norm.",
    "今は実害がありませんが、モデルにドロップアウトやバッチ正規化を加えると問題になります。",
)
_NO_EFFECT = Text(" In this model the mode changes nothing.", "このモデルでは、モードによる違いはありません。")


def modes(record: Record) -> Iterator[Finding]:
    """Which mode the model is in when it learns and when it is judged.

    Does: notes model.training at each forward and step; takes one batch at a few steps through a copy of the model in both modes.
    Finds: a model that is never called, steps in evaluation mode, validation in training mode, dropout that is stronger than the picture, steps on
    validation batches.
    Must not accuse: frozen backbones that stay in evaluation mode, teachers, models without dropout and batch norm (a note), update_bn.
    Source: PyTorch, nn.Module.eval
    """
    if not record.forwards:
        if record.steps:
            yield UNSEEN.found(
                Text(
                    f"In {counted(len(record.steps), 'optimizer step')} the model that watch was given was not called once.",
                    f"オプティマイザの{len(record.steps)}ステップの間、watchに渡されたモデル本体は一度も呼び出されていません。",
                ),
                {"steps": len(record.steps), "backwards": len(record.backwards)},
            )
        raise Skipped(
            Text(
                "the model itself was not called in the block (only parts of it, or a copy)",
                "ブロック内でモデル本体が呼び出されていません（一部だけ、またはコピーが使われています）",
            )
        )
    yield from _eval_steps(record)
    yield from _train_validation(record)
    yield from _validation_steps(record)
    yield from _dropout(record)


def _judged(fault: Fault, *, harmless: bool) -> Fault:
    """What it does to learning is said only where it does anything."""
    return replace(fault, why=_HARMLESS) if harmless else fault


def _eval_steps(record: Record) -> Iterator[Finding]:
    known = [(number, step.training) for number, step in enumerate(record.steps) if step.training is not None]
    wrong = [number for number, training in known if not training]
    sizes = {name: p.numel() for name, p in record.model.named_parameters()}
    held = record.held
    learning = sum(sizes[name] for name, p in record.model.named_parameters() if name in held and p.requires_grad)
    is_partial = learning < 0.5 * sum(
        sizes.values()
    )  # a head on a frozen backbone, which is left in evaluation mode on purpose
    if len(wrong) < 2 or len(wrong) < 0.1 * len(known) or is_partial:
        return
    began_well = bool(known) and known[0][1]
    since = Text(
        f" (from step {wrong[0] + 1} on)" if began_well else "",
        f"（{wrong[0] + 1}ステップ目以降）" if began_well else "",
    )
    harmless = record.mode_matters is False
    begins = [step for a, step in pairwise(record.steps) if a.training and step.training is False]
    is_inside = record.loader is not None and bool(begins) and not any(step.is_first for step in begins)
    fault = replace(EVAL_STEPS, advice=_INSIDE, code=_INSIDE_CODE) if is_inside else EVAL_STEPS
    yield _judged(fault, harmless=harmless).found(
        Text(
            f"{len(wrong)} of {len(known)} steps ran in evaluation mode{since.en}.{_NO_EFFECT.en if harmless else ''}",
            f"{len(known)}ステップ中{len(wrong)}ステップで、モデルが評価モードのまま学習していました{since.ja}。{_NO_EFFECT.ja if harmless else ''}",
        ),
        {
            "steps": len(known),
            "steps_in_evaluation_mode": len(wrong),
            "first": wrong[0] + 1,
            "mode_matters": record.mode_matters,
        },
        severity="note" if harmless else "warning",
    )


def _train_validation(record: Record) -> Iterator[Finding]:
    judged = [each for each in record.forwards if _is_validation(each)] or _quiet_runs(record.forwards)
    wrong = [each for each in judged if each.training and not each.reaches]
    if not wrong or len(wrong) < 0.5 * len(judged):
        return
    harmless = record.mode_matters is False
    batches = counted(len(judged), "validation batch", "validation batches")
    yield _judged(TRAIN_VALIDATION, harmless=harmless).found(
        Text(
            f"{len(wrong)} of {batches} went through the model in training mode.{_NO_EFFECT.en if harmless else ''}",
            f"検証の{len(judged)}バッチ中{len(wrong)}バッチで、モデルが学習モードのままでした。{_NO_EFFECT.ja if harmless else ''}",
        ),
        {"validation_batches": len(judged), "in_training_mode": len(wrong), "mode_matters": record.mode_matters},
        severity="note" if harmless else "warning",
    )


def _is_validation(forward: Forward) -> bool:
    """Its batch is one of the validation loader's; or nobody knows, that loader was drawn from last, and nothing is learned."""
    return forward.phase == "val" or (forward.phase is None and forward.drawn == "val" and not forward.grad)


def _quiet_runs(forwards: list[Forward]) -> list[Forward]:
    """Where no validation loader was given: three and more forwards without gradients on end, that are no batches of the training loader and do not
    estimate batch norms anew."""
    runs = (
        list(group)
        for quiet, group in groupby(
            forwards, key=lambda each: not each.grad and "train" not in (each.phase, each.drawn) and not each.estimates
        )
        if quiet
    )
    return [each for run in runs if len(run) >= 3 for each in run]


def _validation_steps(record: Record) -> Iterator[Finding]:
    wrong, leaked = ([step for step in record.steps if step.phase == "val"], sum(step.leaked for step in record.steps))
    if len(wrong) < 2:
        if leaked:
            yield _of_validation_too(leaked, len(record.steps))
        return
    yield VALIDATION_STEPS.found(
        Text(
            f"{len(wrong)} of {len(record.steps)} optimizer steps used batches from the validation loader.",
            f"{len(record.steps)}ステップ中{len(wrong)}ステップが、検証用ローダーのバッチで行われました。",
        ),
        {"steps": len(record.steps), "steps_on_validation_batches": len(wrong)},
    )


def _of_validation_too(leaked: int, steps: int) -> Finding:
    """The steps are those of training batches, and go by gradients of the validation's too."""
    return replace(VALIDATION_STEPS, advice=_CLEAR).found(
        Text(
            f"At {leaked} of {counted(steps, 'optimizer step')} the gradients also held those of batches from the validation loader: backward() ran "
            "on these, and nothing cleared the gradients before the training went on.",
            f"{steps}ステップ中{leaked}ステップで、検証用ローダーのバッチの勾配が混ざっていました。検証のバッチでbackward()が実行され、勾配がクリアされないまま"
            "学習が続いています。",
        ),
        {"steps": steps, "steps_on_validation_batches": leaked},
    )


MUCH, GAP = 0.3, 0.25
"""The probability of dropping, and the difference between the losses in the two modes, from which on it is too much. The noise of the scores beside
their differences between images does not tell: at the start it is large at 0.1 already."""


def _dropout(record: Record) -> Iterator[Finding]:
    """How much is dropped by the modules' own word, and what it costs the loss of the last batch that was tried."""
    if not record.probes or not record.mode_matters or not record.probes[-1].is_one_shape:
        return
    rates = [rate for rate in (_rate(module) for module in record.model.modules()) if rate > 0]
    probe, has_norms = record.probes[-1], any(isinstance(m, _BatchNorm) for m in record.model.modules())
    losses: tuple[float, float] | None = None
    labels = [] if probe.labels is None else probe.labels.tolist()
    fit = len(labels) == len(probe.quiet) and all(0 <= label < probe.quiet.shape[1] for label in labels)
    if probe.labels is not None and fit and probe.step >= 10 and not has_norms:
        each = [cross_entropy(scores, probe.labels) for scores in probe.loud]
        losses = cross_entropy(probe.quiet, probe.labels), sum(each) / len(each)
    rate = median(rates) if len(rates) >= 2 else 0.0
    chance = log(probe.quiet.shape[1])  # a loss far above it has other reasons
    costs = losses is not None and losses[0] < chance + 0.1 and losses[1] - losses[0] >= max(GAP, 0.15 * losses[0])
    if rate < MUCH and not costs:
        return
    said = Text(
        f"At least half of the dropout layers drop {rate:g} or more.",
        f"ドロップアウト層の半数以上で確率が{rate:g}以上です。",
    )
    evidence: dict[str, float] = {"median_dropout": rate, "largest_dropout": max(rates, default=0.0)}
    if losses is not None:
        quiet, loud = losses
        beside = Text(
            f"One batch has a loss of {quiet:.3f} in evaluation mode and of {loud:.3f} in training mode.",
            f"同じバッチの損失は、評価モードで{quiet:.3f}、学習モードで{loud:.3f}です。",
        )
        said = Text(f"{said.en} {beside.en}", f"{said.ja}{beside.ja}") if rate >= MUCH else beside
        evidence |= {"loss_in_evaluation_mode": quiet, "loss_in_training_mode": loud}
    yield DROPOUT.found(said, evidence)


def _rate(module: nn.Module) -> float:
    """What a module drops, of single numbers."""
    if isinstance(module, _DropoutNd):
        return float(module.p)
    return float(module.dropout) if isinstance(module, nn.MultiheadAttention) else 0.0
