"""The loss: whether it depends on the model, what it is, how large it is, and where it goes. In goes the record of a loop, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from statistics import median

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.loop.course import course
from vitscope.doctor.loop.half import no_scaler
from vitscope.doctor.loop.labels import other_labels
from vitscope.doctor.loop.misfits import misfit
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.still import one_score, stands
from vitscope.doctor.loop.twice import TWICE, by_the_graph, twice
from vitscope.doctor.loop.uphill import uphill
from vitscope.doctor.loop.words import counted

DETACHED = Fault(
    "loss-detached",
    "L8",
    "loop-loss",
    "error",
    Text(
        "No gradient comes from the loss to the model: nothing is learned from it.",
        "損失からモデルへ勾配が届かないため、何も学習されません。",
    ),
    Text(
        "between the model's output and backward(), take out .item(), .detach(), .data, torch.tensor(loss), argmax and torch.no_grad()",
        "モデルの出力からbackward()までの間にある.item()、.detach()、.data、torch.tensor(loss)、argmax、torch.no_grad()を取り除いてください",
    ),
    "loss = F.cross_entropy(model(images), labels)\nloss.backward()",
    explains=(
        "parameters-do-not-move",
        "no-gradient-at-the-step",
        "no-step",
        "gradients-cleared-before-the-step",
        "loss-does-not-move",
    ),
)
RAW = Fault(
    "scores-into-nll-loss",
    "M12",
    "loop-loss",
    "error",
    Text(
        "nll_loss takes logarithms of probabilities. Of plain scores it only makes the label's one larger, without end: the loss falls far below "
        "zero, and nothing pushes the other classes down.",
        "nll_lossには対数確率を渡す必要があります。そのままのスコアを渡すと、正解クラスのスコアを際限なく大きくするだけになります。損失はゼロを大きく下回り、"
        "ほかのクラスのスコアは下がりません。",
    ),
    Text(
        "use cross_entropy (CrossEntropyLoss), which takes scores; or log_softmax before nll_loss",
        "スコアを受け取るcross_entropy（CrossEntropyLoss）を使うか、nll_lossの前にlog_softmaxを掛けてください",
    ),
    "loss = F.cross_entropy(model(images), labels)",
)
DIVIDED = Fault(
    "loss-divided-twice",
    "L6",
    "loop-loss",
    "warning",
    Text(
        "The learning rate is in effect divided by the batch size too. SGD then hardly moves; Adam hides it until its epsilon shows.",
        "実質的に学習率までバッチサイズで割ることになります。SGDではほとんど動かず、Adamではイプシロンが効くまで表に出ません。",
    ),
    Text(
        "the mean over the batch already divides: take the second division out",
        "バッチ平均がすでに割り算を含みます。二度目の割り算を取り除いてください",
    ),
    "loss = criterion(model(images), labels)   # no / len(images)",
    explains=("loss-does-not-move",),
)
KNOWN = 0.25
"""The share of the gradients by which a loss is recognised: some batches are mixed, and some gradients of another loss look alike."""
_BY_THE_LOADER = Text(
    "The learning rate is in effect divided by the number of batches too. SGD then hardly moves; Adam hides it until its epsilon shows.",
    "実質的に学習率までバッチ数で割ることになります。SGDではほとんど動かず、Adamではイプシロンが効くまで表に出ません。",
)
_UNSEEN = Text(
    "only its course was followed; to tell what the loss is takes scores and labels: give watch loss_fn=, where it is a module, or a loader whose "
    "batches hold the labels",
    "損失の推移だけを調べました。損失の種類を調べるにはスコアとラベルが必要です。loss_fn=（モジュールの場合）か、バッチにラベルを含むloaderをwatchに渡してください",
)
_UNREAD = Text(
    "only its course was followed: no gradient came back to scores that the loader's labels belong to",
    "損失の推移だけを調べました。ローダーのラベルに対応するスコアに勾配が届かなかったためです",
)
_OTHER = Text(
    "only its course was followed: the loss was not recognised, for the gradient of the scores is not that of a cross-entropy with the loader's "
    "labels",
    "損失の推移だけを調べました。スコアの勾配がローダーのラベルによるクロスエントロピーのものではなく、損失の種類を判別できなかったためです",
)
_UNCALLED = Text(
    "only its course was followed: the model that watch was given was not called itself",
    "損失の推移だけを調べました。watchに渡されたモデル本体が呼び出されていないためです",
)


def loss(record: Record) -> Iterator[Finding]:
    """What the loss is and does.

    Does: holds the gradient that comes back to the scores against that of a cross-entropy, and follows the loss over the steps.
    Finds: a loss that does not depend on the model, softmax or sigmoid before cross-entropy, nll_loss of scores, a cross-entropy that is made
    larger or has other labels than the loader's, a loss divided twice, losses that are no numbers or climb, fp16 without a GradScaler.
    Must not accuse: softmax with nll_loss(log(p)) or MSE, label smoothing, mixup, tasks with labels of their own, accumulation (loss / k), loss
    scaling by hand, bfloat16.
    Source: https://arxiv.org/abs/1710.03740 (loss scaling)
    """
    if not record.backwards and not record.cut_losses:
        raise Skipped(Text("no backward was seen", "backwardが観測されませんでした"))
    for finding in one_score(record):
        yield finding
        return
    yield from _detached(record)
    by_gradients = [*twice(record), *_raw(record), *misfit(record, TWICE, RAW)]
    yield from by_gradients or by_the_graph(record)
    yield from uphill(record)
    yield from other_labels(record)
    yield from _divided(record)
    yield from _divided_by_the_loader(record)
    still = list(stands(record))
    yield from still or course(record)  # what stands overshoots nothing
    yield from no_scaler(record)
    if not record.loss_saw_scores and not _is_known(record):
        has_labels, is_told = any(each.labels for each in record.passes), any(fit.is_told for fit in record.fits)
        unread = _OTHER if is_told else _UNREAD if has_labels else _UNSEEN
        raise Skipped(unread if record.forwards else _UNCALLED)


def _is_known(record: Record) -> bool:
    """Whether gradients tell what the loss is, or what it was made of does."""
    fits, makings = sum(fit.is_known for fit in record.fits), sum(each.is_known for each in record.makings)
    return 0 < KNOWN * len(record.fits) <= fits or 0 < KNOWN * len(record.makings) <= makings


def _detached(record: Record) -> Iterator[Finding]:
    learning = [each for each in record.forwards if each.grad]
    known = record.held and any(p.requires_grad for p in record.model.parameters())
    reaching = any(each.reaches for each in record.forwards) or any(each.arrived for each in record.backwards)
    cut = record.cut_losses + len(record.backwards)
    if not known or reaching or not record.forwards or record.uses_closure or cut < (1 if record.cut_losses else 3):
        return
    times = counted(cut, "backward pass", "backward passes")
    switched_off = "" if learning else " (the model ran with gradients switched off)"
    off = "" if learning else "（モデルは勾配計算を無効にして実行されています）"
    yield DETACHED.found(
        Text(
            f"In {times} no gradient came from the loss to the model's scores{switched_off}: it is cut off from them.",
            f"{cut}回のbackwardで、損失からモデルのスコアへ勾配が一度も届きませんでした{off}。損失がモデルから切り離されています。",
        ),
        {"backwards": cut, "losses_without_history": record.cut_losses, "forwards": len(record.forwards)},
    )


def _raw(record: Record) -> Iterator[Finding]:
    """A negative log-likelihood of scores."""
    count, losses = sum(fit.is_of_raw_scores for fit in record.fits), record.losses
    if count < 3 or count < 0.8 * len(record.fits) or not losses:
        return
    yield RAW.found(
        Text(
            f"The loss is the mean of the labels' scores with a minus, as nll_loss gives it for scores that went through no log_softmax: "
            f"{losses[0]:.3g} at the start, {losses[-1]:.3g} in the end.",
            "損失は、正解クラスのスコアの平均に負号を付けた値です。log_softmaxを通さないスコアをnll_lossに渡すと、このようになります"
            f"（開始時{losses[0]:.3g}、終了時{losses[-1]:.3g}）。",
        ),
        {"first": losses[0], "last": losses[-1], "backwards": len(losses)},
    )


def _divided(record: Record) -> Iterator[Finding]:
    fits = [fit for fit in record.fits if fit.is_cross_entropy and fit.batch >= 4]
    if len(fits) < 3 or len(record.steps) < 2 or abs(median(fit.batch for fit in fits) - record.period) < 0.5:
        return
    over = [fit for fit in fits if any(abs(fit.size * fit.batch * k - 1) < 0.05 for k in {1, record.period})]
    if len(over) < 0.9 * len(fits):
        return
    size, batch = median(fit.size for fit in over), round(median(fit.batch for fit in over))
    part = f"1/{round(1 / size)}" if abs(round(1 / size) * size - 1) < 0.01 else f"{size:.4g}"
    yield DIVIDED.found(
        Text(
            f"The loss that backward() runs on is {part} of the mean cross-entropy of its batch of {batch}: divided by the batch size twice.",
            f"backward()を呼び出している損失は、{batch}枚のバッチの平均クロスエントロピーの{part}{'' if '/' in part else '倍'}です。"
            "バッチサイズで二重に割られています。",
        ),
        {"size_beside_the_mean": size, "batch": batch},
    )


def _divided_by_the_loader(record: Record) -> Iterator[Finding]:
    """The mean over the batches of an epoch, taken at each of its steps. A round share may be the weight of a term."""
    fits = [fit for fit in record.fits if fit.is_cross_entropy and fit.batch >= 4]
    epoch = record.epoch
    if epoch is None or epoch < 3 or len(fits) < 3 or record.period > 1 or len(record.steps) < 3:
        return
    over = [fit for fit in fits if abs(fit.size * epoch - 1) < 0.02 and fit.batch != epoch]
    if len(over) < 0.9 * len(fits):
        return
    share = f"{1 / epoch:.10f}".strip("0.")
    yield replace(DIVIDED, why=_BY_THE_LOADER).found(
        Text(
            f"The loss that backward() runs on is 1/{epoch} of the mean cross-entropy of its batch, and an epoch has {epoch} batches: it is divided "
            "by len(loader), although each batch makes a step of its own.",
            f"backward()を呼び出している損失は、バッチの平均クロスエントロピーの1/{epoch}です。1エポックは{epoch}バッチなので、バッチごとに"
            "ステップしているのに、len(loader)で割られています。",
        ),
        {"size_beside_the_mean": 1 / epoch, "batches": epoch},
        severity="note" if len(share) == 1 else "warning",
    )
