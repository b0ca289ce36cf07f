"""Which way the learning rate went. In go the learning rates of a curve, one an epoch (of its last step), out come findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from vitscope._core.text import Text
from vitscope.doctor.curve.watched import Watched
from vitscope.doctor.finding import Fault, Finding
from vitscope.runs import EpochMetrics

CHECK = "curve-learning-rate"
LONG = 10
"""Epochs, from which on a training is long enough for a schedule to matter."""
_EVEN = 1e-6
_SCHEDULE = Text(
    "count T_max in the unit in which scheduler.step() is called: epochs if once an epoch, steps if after each step",
    "T_maxは、scheduler.step()を呼ぶ単位（エポックごとならエポック数、ステップごとならステップ数）で指定してください",
)
_CODE = "scheduler = CosineAnnealingLR(optimizer, T_max=epochs * len(loader))   # and scheduler.step() after each optimizer.step()"
CONSTANT = Fault(
    "learning-rate-constant",
    "L4",
    CHECK,
    "warning",
    Text(
        "A rate that is right at the start is too large at the end: the last points of accuracy come when it falls towards 0.",
        "最初に適切な学習率も、終盤には大きすぎます。正解率の最後の数ポイントは、学習率を0に近づけることで得られます。",
    ),
    Text(
        "call scheduler.step() in the loop, or use a cosine schedule with some epochs of warm-up",
        "ループの中でscheduler.step()を呼ぶか、数エポックのウォームアップ付きのコサインスケジュールを使ってください",
    ),
    _CODE,
)
RISES_AGAIN = Fault(
    "learning-rate-rises-again",
    "L4",
    CHECK,
    "warning",
    Text(
        "The rate comes back up when the training should settle: a schedule that is stepped at another rate than its T_max counts in goes "
        "up and down.",
        "学習が落ち着くべきときに学習率が再び上がっています。T_maxと異なる単位でスケジューラを進めると、学習率は上下を繰り返します。",
    ),
    _SCHEDULE,
    _CODE,
)
UNFINISHED = Fault(
    "schedule-not-finished",
    "L4",
    CHECK,
    "note",
    Text(
        "The schedule is longer than the training: the part in which the rate becomes small, and the model best, never came.",
        "スケジュールが学習より長いため、学習率が小さくなりモデルが最も良くなる部分に達していません。",
    ),
    _SCHEDULE,
    _CODE,
)
DEAD = 1e-3
"""Part of the peak under which a rate moves nothing to speak of."""
NO_WARM_UP = Fault(
    "no-warm-up",
    "L1",
    CHECK,
    "note",
    Text(
        "In the first steps gradients are large and Adam's averages are not yet settled; a full rate then can leave a ViT stuck.",
        "最初のステップでは勾配が大きく、Adamの移動平均も定まっていません。そこで最大の学習率を使うと、ViTの学習が行き詰まることがあります。",
    ),
    Text("let the rate rise over the first few epochs", "最初の数エポックで学習率を徐々に上げてください"),
    "LinearLR(optimizer, start_factor=0.01, total_iters=warmup_steps)",
)
NO_RATE = Fault(
    "learning-rate-zero",
    "L4",
    CHECK,
    "error",
    Text(
        "With a learning rate of zero no weight moves, and with a negative one the loss is climbed.",
        "学習率がゼロでは重みが動かず、負では損失が増える方向に進みます。",
    ),
    Text(
        "look at what the scheduler multiplies the rate by, and in which unit it is stepped",
        "スケジューラが学習率に何を掛けているか、どの単位でstep()しているかを確認してください",
    ),
    explains=("curve-chance",),
)
DIES_EARLY = Fault(
    "learning-rate-dies-early",
    "L4",
    CHECK,
    "warning",
    Text(
        "So small a rate moves nothing any more: the rest of the training is spent for nothing. As a rule a schedule meant in epochs is stepped "
        "every batch.",
        "これほど小さい学習率では何も動かず、残りの学習は無駄になります。多くの場合、エポック単位のスケジュールをバッチごとに進めています。",
    ),
    Text(
        "step the scheduler in the unit that its lengths are meant in",
        "スケジューラは、設定した長さと同じ単位で進めてください",
    ),
    "scheduler = CosineAnnealingLR(optimizer, T_max=epochs)   # step() once an epoch",
)
STARTS_AT_ZERO = Fault(
    "first-epoch-at-rate-zero",
    "L5",
    CHECK,
    "note",
    Text("The first epoch changes nothing: it is wasted.", "最初のエポックでは重みが変わらず、無駄になっています。"),
    Text("begin the warm-up at one step, not at none", "ウォームアップを0ではなく1ステップ目の値から始めてください"),
    "LambdaLR(optimizer, lambda epoch: (epoch + 1) / warmup)   # not epoch / warmup",
)


def curve_learning_rate(watched: Watched) -> Iterator[Finding]:
    """Which shape the learning rate has over the epochs.

    Does: looks where it is highest, whether it comes back up after that, where it ends, and whether it begins at 0.
    Finds: a rate of zero, or next to nothing for most of the training (L4), one that stays the same (L4), comes back up (L4), or ends high (a
    note); a first epoch at 0 (L5), no warm-up where a recipe says so or the training is stuck (L1).
    Must not accuse: a warm-up inside the first epoch, restarts and one-cycle schedules (rises that begin again at the old height are a note), steps,
    short trainings, schedules that a recipe names constant (a note), a training that is not finished.
    """
    rows = watched.need("lr", epochs=3)
    rates = [row.lr for row in rows]
    peak = max(rates)
    if rates[0] == 0 and peak > 0:
        yield STARTS_AT_ZERO.found(
            Text(
                f"The learning rate of epoch {rows[0].epoch} is 0; it is {rates[1]:g} in the next.",
                f"エポック{rows[0].epoch}の学習率は0です（次のエポックでは{rates[1]:g}）。",
            ),
            {"epoch": rows[0].epoch, "next": rates[1]},
        )
    if peak <= 0 or min(rates) < 0:
        yield from _no_rate(watched, rows)
        return
    yield from _dies_early(rows, peak)
    if max(rates) - min(rates) <= _EVEN * peak:
        yield from _constant(watched, rates)
    else:
        yield from _shape(watched, rates, [row.epoch for row in rows])
    yield from _warm_up(watched, rates)


def _no_rate(watched: Watched, rows: Sequence[EpochMetrics]) -> Iterator[Finding]:
    """No rate above zero, or one below it; a column that was rounded to nothing while the loss comes down is not accused."""
    losses = watched.losses()
    if min(row.lr for row in rows) == 0 and losses and losses[-1] < 0.98 * losses[0]:
        return
    worst = min(rows, key=lambda row: row.lr)
    en = "is 0 in all" if worst.lr == 0 else f"falls to {worst.lr:g} (epoch {worst.epoch}) in"
    ja = "を通じて0です" if worst.lr == 0 else f"のうちに{worst.lr:g}（エポック{worst.epoch}）まで下がっています"
    yield NO_RATE.found(
        Text(
            f"The learning rate {en} {len(rows)} epoch{'' if len(rows) == 1 else 's'}.",
            f"学習率が{len(rows)}エポック{ja}。",
        ),
        {"lowest": worst.lr, "epoch": worst.epoch, "epochs": len(rows)},
    )


def _dies_early(rows: Sequence[EpochMetrics], peak: float) -> Iterator[Finding]:
    """A rate under a thousandth of its peak for more than half of the epochs, to the end."""
    alive = max(n for n, row in enumerate(rows) if row.lr >= DEAD * peak)
    dead = rows[alive + 1 :]
    if len(rows) < LONG or len(dead) <= len(rows) / 2:
        return
    most = max(row.lr for row in dead)
    yield DIES_EARLY.found(
        Text(
            f"From epoch {dead[0].epoch} on, in {len(dead)} of {len(rows)} epochs, the learning rate is at most {most:.2g}, under a thousandth of "
            f"its peak of {peak:g}.",
            f"エポック{dead[0].epoch}以降（{len(rows)}エポック中{len(dead)}エポック）、学習率は最大でも{most:.2g}で、"
            f"最大値{peak:g}の1000分の1にも届きません。",
        ),
        {"peak": peak, "dead_from": dead[0].epoch, "dead_epochs": len(dead), "epochs": len(rows)},
    )


def _constant(watched: Watched, rates: Sequence[float]) -> Iterator[Finding]:
    if len(rates) < LONG or watched.verdict.diverged_at is not None:  # that its end was missed is the least of it
        return
    yield CONSTANT.found(
        Text(
            f"The learning rate is {rates[0]:g} in all {len(rates)} epochs.",
            f"学習率が{len(rates)}エポックを通じて{rates[0]:g}のままです。",
        ),
        {"lr": rates[0], "epochs": len(rates), "schedule": watched.settings.schedule},
        severity="note" if watched.settings.schedule == "constant" else "warning",
    )


def _shape(watched: Watched, rates: Sequence[float], epochs: Sequence[int]) -> Iterator[Finding]:
    peak, top = max(rates), rates.index(max(rates))
    lowest, rise, at, steepest = peak, 0.0, 0, 0.0
    for i in range(top + 1, len(rates)):
        lowest = min(lowest, rates[i])
        steepest = max(steepest, rates[i] - rates[i - 1])
        if rates[i] - lowest > rise:
            rise, at = rates[i] - lowest, epochs[i]
    if rise > 0.05 * peak:
        jumps = steepest > 0.8 * rise  # a restart comes back in one epoch, a cosine that is too short climbs
        yield RISES_AGAIN.found(
            Text(
                f"After its peak of {peak:g} (epoch {epochs[top]}) the learning rate falls and comes back up by {rise:.3g} until epoch {at}"
                + (", in one jump: fine if restarts are meant." if jumps else "."),
                f"学習率は最大値{peak:g}（エポック{epochs[top]}）から下がった後、エポック{at}までに再び{rise:.3g}上がっています"
                + ("（1エポックでの急上昇です。意図したリスタートなら問題ありません）。" if jumps else "。"),
            ),
            {"peak": peak, "peak_epoch": epochs[top], "rise": rise, "rise_epoch": at, "jumps": jumps},
            severity="note" if jumps else "warning",
        )
    elif (
        rates[-1] > 0.5 * peak
        and top < len(rates) - 2
        and len(rates) >= LONG
        and watched.settings.is_finished is not False
    ):
        yield UNFINISHED.found(
            Text(
                f"The learning rate ends at {rates[-1]:g}, {rates[-1] / peak:.0%} of its peak.",
                f"学習率は最大値の{rates[-1] / peak:.0%}にあたる{rates[-1]:g}で終わっています。",
            ),
            {"last": rates[-1], "peak": peak, "epochs": len(rates)},
        )


def _warm_up(watched: Watched, rates: Sequence[float]) -> Iterator[Finding]:
    """Said where it is known, or where it may be what is wrong: a warm-up inside the first epoch cannot be seen here."""
    known, peak = watched.settings.warms_up, max(rates)
    is_stuck = (
        watched.supposed_classes is not None
        and watched.has("val_acc")
        and all(watched.is_at_chance(row.val_acc) for row in watched.need("val_acc"))
    )
    if rates[0] < 0.99 * peak or known or not (known is False or is_stuck):
        return
    where = (
        Text("", "")
        if known is False
        else Text(
            ", unless it lies inside that epoch", "（最初のエポックの途中で終わるウォームアップは判別できません）"
        )
    )
    yield NO_WARM_UP.found(
        Text(
            f"The learning rate is {rates[0]:g}, its peak, from the first epoch on: there is no warm-up{where.en}.",
            f"学習率は最初のエポックから最大値の{rates[0]:g}で、ウォームアップがありません{where.ja}。",
        ),
        {"first": rates[0], "peak": peak},
    )
