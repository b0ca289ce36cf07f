"""What a person sees while a model trains: groups once, a moving bar, a line an epoch. Events in, text out."""

from __future__ import annotations

import math
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from vitscope._core.text import Lang, Text
from vitscope.curves import judge, place
from vitscope.runs import EpochMetrics, read_metrics
from vitscope.train.events import EpochEnded, Event, Started, StepEnded

if TYPE_CHECKING:
    from vitscope.recipes.run import Prepared

_ROLE = {
    "hidden matrices": Text("hidden matrices", "隠れ層の行列"),
    "matrices": Text("matrices", "行列"),
    "rest": Text("norms, biases, positions, tokens", "正規化・バイアス・位置・トークン"),
}


class TrainingScreen:
    """A listener for `fit` that shows how training goes."""

    def __init__(self, prepared: Prepared, lang: Lang, console: Console) -> None:
        self.prepared, self.lang, self.console = prepared, lang, console
        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.task: TaskID | None = None

    def __enter__(self) -> TrainingScreen:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.begin(event)
        elif isinstance(event, StepEnded) and self.task is not None:
            self.bar.update(self.task, completed=event.step, description=self._epoch(event), note=self._note(event))
        elif isinstance(event, EpochEnded):
            self.end_epoch(event)

    def begin(self, event: Started) -> None:
        """Data, augmentation, device and parameter groups; then the bar."""
        recipe, data = self.prepared.ingredients.recipe, self.prepared.ingredients.data
        val = {
            "test": Text("test", "テスト"),
            "validation": Text("validation", "検証"),
            "held-out": Text("held-out", "検証用に分けた"),
        }.get(data.val_name, Text(data.val_name, data.val_name))
        head = Text(
            "{name}: {train:,} training and {val:,} {kind} images, {classes} classes; {augment}",
            "{name}: 学習画像 {train:,} 枚、{kind}画像 {val:,} 枚、{classes} クラス。データ拡張: {augment}",
        ).format(
            name=recipe.name,
            train=len(data.train),
            val=len(data.val),
            kind=val[self.lang],
            classes=len(data.label_names),
            augment=self.prepared.ingredients.augmentation.describe(self.lang),
        )
        self.say(head[self.lang])
        if data.skipped:
            left_out = Text(
                "left out {n} unusable images, such as {first}", "使えない画像 {n} 枚を除きました（例: {first}）"
            )
            self.say(left_out.format(n=len(data.skipped), first=data.skipped[0])[self.lang])
        if data.ignored:
            passed = Text(
                "passed over {n} files that are not used as images, such as {first}",
                "画像として使わないファイル {n} 個を飛ばしました（例: {first}）",
            )
            self.say(passed.format(n=data.ignored, first=data.first_ignored)[self.lang])
        machine = Text("{steps:,} steps on {device}, {precision}", "{device} 上で {steps:,} ステップ、{precision}")
        self.say(machine.format(steps=event.steps, device=event.device, precision=event.precision)[self.lang])
        self.say("  " + event.fast[self.lang])
        for group in event.groups:
            line = Text(
                "  {role}: {tensors} tensors, {numbers:,} numbers, weight decay {decay:g}{muon}",
                "  {role}: テンソル {tensors} 個、パラメータ {numbers:,} 個、重み減衰 {decay:g}{muon}",
            ).format(
                role=_ROLE[group.role][self.lang],
                tensors=len(group.names),
                numbers=group.numbers,
                decay=recipe.train.weight_decay if group.decays else 0.0,
                muon=Text(", Muon", "、Muon")[self.lang] if group.muon else "",
            )
            self.say(line[self.lang])
        if event.first_step:
            resumed = Text("resumed at step {step:,} of {steps:,}", "{steps:,} ステップ中 {step:,} から再開します")
            self.say(resumed.format(step=event.first_step, steps=event.steps)[self.lang])
        self.task = self.bar.add_task("", total=event.steps, completed=event.first_step, note="")

    def end_epoch(self, event: EpochEnded) -> None:
        """`epoch 12: 66.9 %, reference 63.2 % ± 2.0, ahead` and the numbers behind it."""
        row = event.row
        plain = Text("epoch {epoch}: {value:.1f} %", "エポック {epoch}: {value:.1f} %").format(
            epoch=row.epoch, value=row.val_acc
        )
        says = self._place(row) or plain
        numbers = Text(
            "   [train loss {train:.3f}, val loss {val:.3f}, {speed:.0f} images/s, {minutes:.1f} min]",
            "   [学習損失 {train:.3f}、検証損失 {val:.3f}、毎秒 {speed:.0f} 枚、{minutes:.1f} 分]",
        ).format(train=row.train_loss, val=row.val_loss, speed=row.images_per_second, minutes=row.seconds / 60)
        self.say(says[self.lang] + numbers[self.lang])

    def say(self, line: str) -> None:
        """One line above the bar."""
        self.bar.console.print(line)

    def _place(self, row: EpochMetrics) -> Text | None:
        """Where the run stands, in the words of the verdict on all of it: a second epoch under the band is `below`."""
        reference = self.prepared.reference
        if reference is None:
            return None
        verdict = judge([*self._earlier(row.epoch), row], reference)
        judged = verdict.last is not None and verdict.last.epoch == row.epoch
        return verdict.place if judged else place(row.epoch, row.val_acc, reference).text

    def _earlier(self, epoch: int) -> list[EpochMetrics]:
        """The epochs before, those before a resume among them, from the disk."""
        file = self.prepared.folder.metrics
        return [row for row in read_metrics(file) if row.epoch < epoch] if file.exists() else []

    def _epoch(self, event: StepEnded) -> str:
        return Text("epoch {epoch}", "エポック {epoch}").format(epoch=event.epoch)[self.lang]

    def _note(self, event: StepEnded) -> str:
        note = Text(
            "loss {loss:.3f}, {accuracy:.1f} %, {speed:.0f} images/s, {left} left",
            "損失 {loss:.3f}、{accuracy:.1f} %、毎秒 {speed:.0f} 枚、残り {left}",
        )
        left = clock(event.seconds_left)
        return note.format(loss=event.loss, accuracy=event.accuracy, speed=event.images_per_second, left=left)[
            self.lang
        ]


def clock(seconds: float) -> str:
    """`1:02:03` or `2:03`."""
    whole = max(0, math.ceil(seconds))
    hours, minutes = whole // 3600, whole % 3600 // 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"
