"""A `with` block around somebody's own training loop. In go the model, the optimizer and what else is at hand, out comes a `Watched`, whose
`report` says what is wrong with the loop."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from vitscope._core.errors import UsageError
from vitscope._core.raised import first_line
from vitscope._core.suggest import a_
from vitscope._core.text import Lang, Text
from vitscope.doctor.arguments import lang_given
from vitscope.doctor.examination import Examination, in_order
from vitscope.doctor.finding import Finding, Skip, Skipped
from vitscope.doctor.loop.checks import LOOP_CHECKS
from vitscope.doctor.loop.given import parts_given
from vitscope.doctor.loop.guessing import unexplained
from vitscope.doctor.loop.record import Record
from vitscope.doctor.loop.recorder import Recorder
from vitscope.doctor.loop.report import LoopExamination


class Watched:
    """What a `watch` block hands out: its `report` is there at any time, about what was seen so far, and is complete behind the block."""

    def __init__(self, recorder: Recorder, lang: Lang | None = None) -> None:
        self._recorder = recorder
        self._lang: Lang | None = lang
        self._report: LoopExamination | None = None
        self._notes: tuple[Text, ...] = ()

    @property
    def report(self) -> Examination:
        """What was found."""
        found = self._report if self._report is not None else examined(self._recorder, self._notes)
        return replace(found, lang=self._lang)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What was found, causes first."""
        return self.report.findings

    def text(self, lang: Lang | None = None) -> str:
        """The report to be read; in the language that `watch` was given or the locale's where none is given."""
        return self.report.text(lang)

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        return repr(self.report)

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def _end(self, error: BaseException | None) -> None:
        if isinstance(error, KeyboardInterrupt | GeneratorExit):
            self._notes = (Text("The loop was interrupted.", "ループは中断されました。"),)
        elif error is not None:
            what, first = type(error).__name__, first_line(error)
            said = what if first in ("", what) else f"{what}: {first}"
            self._notes = (
                Text(f"The loop ended with an error of its own ({said}).", f"ループは例外で終了しました（{said}）。"),
            )
        self._report = examined(self._recorder, self._notes)


@contextmanager
def watch(
    model: nn.Module,
    optimizer: Any,
    loader: Any = None,
    *,
    loss_fn: Any = None,
    scheduler: Any = None,
    val_loader: Any = None,
    lang: str | None = None,
) -> Iterator[Watched]:
    """Watches a training loop, some 20 steps or whole epochs of it, and says what is wrong with it.

    It observes only: the weights, random numbers and results are bit for bit what they are without it, and behind the block nothing of it is left,
    also when the loop raises. Before three of the steps a copy of the model is run on some images of a batch; what a model's code changes outside of
    the model (a counter in a module, a file) it changes then too. Nothing that goes wrong in watching ends the loop; the report tells it.

        with vitscope.watch(model, optimizer, loader, loss_fn=criterion, scheduler=scheduler, val_loader=val_loader) as watched:
            for images, labels in loader:
                ...
        print(watched.report)

    Args:
        model: the module that the loop calls.
        optimizer: a torch optimizer, or one that holds it as `optimizer` (Accelerate).
        loader: the training loader that the loop goes through.
        loss_fn: the loss, where it is a module.
        scheduler: of the learning rate, as it is stepped.
        val_loader: the loader that the validation goes through.
        lang: the language that the report is printed in, `en` or `ja`; the locale's where left out.

    Raises:
        UsageError: the model is no module, the optimizer no optimizer, a loader, loss or scheduler none, or there is no such language.
    """
    spoken = lang_given(lang)
    loaders = {"loader": loader, "val_loader": val_loader}
    parts_given(model, optimizer, loaders=loaders, loss_fn=loss_fn, scheduler=scheduler, lang=spoken)
    recorder = Recorder(
        Record(
            model, _innermost(optimizer, "optimizer"), loader, val_loader, loss_fn, _innermost(scheduler, "scheduler")
        )
    )
    watched = Watched(recorder, spoken)
    recorder.start()
    error: BaseException | None = None
    try:
        yield watched
    except BaseException as raised:
        error = raised
        raise
    finally:
        with suppress(Exception):  # the loop's own error must come through
            recorder.stop()
            watched._end(error)


def _innermost(thing: Any, name: str) -> Any:
    """What a wrapper of Accelerate holds.

    Raises:
        UsageError: it should be an optimizer that takes hooks, and is none.
    """
    wrapper = f"Accelerated{name.capitalize()}"
    while type(thing).__name__ == wrapper and hasattr(thing, name):
        thing = getattr(thing, name)
    if name != "optimizer":
        return thing
    if not isinstance(thing, torch.optim.Optimizer):
        raise UsageError(f"watch needs the torch.optim optimizer of the loop, got {a_(type(thing).__name__)}")
    while not hasattr(
        thing, "_optimizer_step_pre_hooks"
    ):  # a wrapper that never called Optimizer.__init__, as many Lookaheads
        inner = getattr(thing, "optimizer", None)
        if not isinstance(inner, torch.optim.Optimizer):
            raise UsageError(
                f"{type(thing).__name__} has not called Optimizer.__init__ and takes no step hooks, expected an optimizer that does; "
                "call super().__init__(params, defaults) in it, or give watch the optimizer inside of it"
            )
        thing = inner
    return thing


def examined(recorder: Recorder, notes: tuple[Text, ...] = ()) -> LoopExamination:
    """Runs the checks on what was seen."""
    record = recorder.record
    recorder.refresh()
    findings: list[Finding] = []
    skipped: list[Skip] = []
    seconds: dict[str, float] = {}
    for name, check in LOOP_CHECKS.items():
        begun = time.monotonic()
        try:
            for finding in check(record):
                findings.append(finding)
        except Skipped as why:
            skipped.append(Skip(name, why.why))
        except Exception as error:  # a report with a hole is better than none
            skipped.append(Skip(name, _failed(error)))
        seconds[name] = time.monotonic() - begun
    notes = (*notes, *_not_watched(record))
    notes = (*notes, *_not_told(record))
    left_out = {skip.check for skip in skipped} - {finding.check for finding in findings}
    return LoopExamination(
        target=type(record.model).__name__,
        findings=in_order(unexplained(findings), tuple(LOOP_CHECKS)),
        checks_run=tuple(name for name in LOOP_CHECKS if name not in left_out),
        skipped=tuple(skipped),
        seconds=seconds,
        facts=_facts(record),
        notes=notes,
    )


def _failed(error: Exception) -> Text:
    said = f"{type(error).__name__}: {first_line(error)}"
    return Text(
        f"this check itself failed ({said}); the training was not touched by it",
        f"このチェック自体が失敗しました（{said}）。学習には影響していません",
    )


def _not_watched(record: Record) -> Iterator[Text]:
    """What of the things that were given does not tell what happens to it, and what went wrong in watching."""
    passes = ".__iter__"
    for kind in (each.removesuffix(passes) for each in record.unwatched if each.endswith(passes)):
        yield Text(
            f"Not watched: passes through the {kind} that was given as a loader, for a {kind} does not tell when it is gone through; "
            "a DataLoader does.",
            f"ローダーとして渡された{kind}は、反復の様子を監視できませんでした。DataLoaderであれば監視できます。",
        )
    others = [each for each in record.unwatched if not each.endswith(passes)]
    if others:
        yield Text(f"Not watched: {', '.join(others)}.", f"監視できなかったもの：{'、'.join(others)}。")


def _not_told(record: Record) -> Iterator[Text]:
    """What `watch` did not see, was not given, and what could not be looked at for want of it."""
    if not record.saw_anything:
        yield Text(
            "Nothing was seen: in the block the model was not called, and neither backward() nor the optimizer's step() ran. Run the training loop, "
            "some 20 steps of it, inside of the with block, with the very model and optimizer that watch was given.",
            "何も観測されませんでした。ブロック内でモデルが呼び出されず、backward()もオプティマイザのstep()も実行されていません。学習ループ（20ステップ程度）を"
            "withブロックの中で、watchに渡したモデルとオプティマイザそのもので実行してください。",
        )
    elif record.backwards and not record.steps and any(record.moved.values()):
        name = type(record.optimizer).__name__
        yield Text(
            f"Not one step of the {name} that watch was given was seen, and yet the weights move: its gradients and its schedule were not looked at. "
            "A compiled step (torch.compile(optimizer.step)) is not seen, nor are those of another optimizer; watch some steps of it that are not "
            "compiled.",
            f"watchに渡された{name}のステップが一度も観測されていないのに、重みは変化しています。勾配とスケジュールは調べていません。コンパイルされたstep"
            "（torch.compile(optimizer.step)）や、別のオプティマイザのstepは観測できません。コンパイルせずに数ステップ実行して監視してください。",
        )
    if len(record.steps) < 5:  # too few to tell anything
        return
    if record.scheduler is None:
        yield Text(
            "Not told: no scheduler= was given, so of the schedule only the learning rates themselves were looked at.",
            "scheduler=が指定されていないため、スケジュールについては学習率の値だけを調べました。",
        )
    if record.loader is None:
        yield Text(
            "Not told: no loader was given, so the order of the training images was not looked at.",
            "loaderが指定されていないため、学習画像の順序は調べていません。",
        )
    if record.val_loader is None:
        yield Text(
            "Not told: no val_loader= was given, so whether validation uses all of its images was not looked at.",
            "val_loader=が指定されていないため、検証で全画像が使われているかは調べていません。",
        )


def _facts(record: Record) -> dict[str, Any]:
    return {
        "steps": len(record.steps),
        "backwards": len(record.backwards),
        "forwards": len(record.forwards),
        "backwards_per_step": record.period,
        "epochs": sum(each.exhausted for each in record.train_passes()),
        "classes": record.classes,
        "optimizer": type(record.optimizer).__name__,
        "losses": list(record.losses[:200]),
    }
