"""The examination itself: `diagnose` takes somebody's model, makes a patient of a copy, runs every check and puts what they found in order.

The user's object, its mode, gradients and hooks, and all random states are afterwards as they were.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from vitscope._core.errors import LensError
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.doctor.admission import admitted
from vitscope.doctor.arguments import checks_given, counts_given, lang_given, loss_named, rate_given, size_given
from vitscope.doctor.checks import CHECKS
from vitscope.doctor.copying import copy_of
from vitscope.doctor.examination import Examination, in_order
from vitscope.doctor.finding import Finding, Skip, Skipped
from vitscope.doctor.forward.told import bce_meant
from vitscope.doctor.patient import SEED, Patient, not_followed
from vitscope.doctor.unscored import NoScoresError, no_scores
from vitscope.lens.autocast import without_autocast
from vitscope.lens.randomness import seeded

LEARNING_SECONDS = 60.0
"""How long the learning checks may take together."""
OF_SEVERAL_SCORES = ("initial-loss", "overfit", "learning-rate")
"""Checks that say nothing of a model with one score."""
Progress = Callable[[str, int, int], None]
"""Told of each check before it begins: its id, its number from 0, and how many there are."""


def diagnose(
    model: nn.Module,
    *,
    image_size: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    channels: int = 3,
    images: Tensor | None = None,
    labels: Tensor | None = None,
    loss: str | nn.Module | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    deep: bool = False,
    checks: Sequence[str] | None = None,
    factory: Callable[[], nn.Module] | None = None,
    is_trained: bool = False,
    target: str | None = None,
    lang: str | None = None,
    progress: Progress | None = None,
) -> Examination:
    """Examines how a ViT behaves, without reading its source.

    Args:
        model: images B C H W in, scores B Y out; it is copied, and left as it is.
        image_size: side of its images in pixels, or (height, width); not needed where `images` are given.
        num_classes: how many scores it should give; left out, what it gives.
        channels: of its images, where no `images` are given.
        images: B C H W, as the model takes them (normalised), to examine it with; noise where left out.
        labels: B, of the images.
        loss: what it is trained with (`cross-entropy`, `nll`, `bce-with-logits`, `bce-of-probabilities`, `bce` for either of the two, `mse`, or
            torch's name, class or module): with it, an output that does not fit is an error.
        lr: the learning rate it is trained with, to be held against the range in which it is stable.
        batch_size: that it is trained with; tried beside others.
        deep: do the learning checks of a large model too.
        checks: only these, by their ids.
        factory: makes a fresh instance, to see whether a state dict restores one.
        is_trained: its weights are not start values.
        target: what it is called in the result; its class where left out.
        lang: the language that the result is printed in, `en` or `ja`; the locale's where left out.
        progress: told of each check before it begins.

    Raises:
        VitscopeError: what was given is no ViT, or does not run, in one sentence.
    """
    chosen, loss, image_size = checks_given(checks, CHECKS), loss_named(loss), size_given(image_size)
    counts_given(num_classes=num_classes, channels=channels, batch_size=batch_size)
    lr, spoken = rate_given(lr), lang_given(lang)
    with as_it_was():
        twin, hooks = copy_of(model)
        name = target or type(model).__name__
        try:
            patient, early, notes = admitted(
                twin,
                image_size=image_size,
                num_classes=num_classes,
                channels=channels,
                images=images,
                labels=labels,
                batch_size=batch_size,
            )
        except NoScoresError as error:
            rest = tuple(Skip(check, _NOTHING_TO_EXAMINE) for check in chosen if check != "forward")
            return Examination(name, (no_scores(error),), ("forward",), rest, {}, {}, lang=spoken)
        patient.loss, patient.lr, patient.deep = loss, lr, deep
        patient.factory, patient.is_trained = None if factory is None else partial(_fresh, factory), is_trained
        if hooks:
            notes.append(_HOOKS.format(count=hooks))
        return replace(_examined(patient, name, chosen, early, notes, progress), lang=spoken)


def _fresh(factory: Callable[[], nn.Module]) -> nn.Module:
    """What a factory makes, copied: it may give back the user's own model.

    Raises:
        Skipped: it makes none.
    """
    try:
        made = factory()
    except Exception as error:
        said = f"{type(error).__name__}: {first_line(error)}"
        raise Skipped(Text(f"the factory fails with {said}", f"factoryの呼び出しが失敗しました（{said}）")) from error
    return copy_of(made)[0]


def _examined(
    patient: Patient,
    target: str,
    chosen: tuple[str, ...],
    early: Sequence[Finding],
    notes: Sequence[Text],
    progress: Progress | None,
) -> Examination:
    """The checks that were chosen, and what was found before them, in order."""
    findings, skipped, seconds = run_checks(patient, chosen, progress)
    findings = [*(each for each in early if each.check in chosen), *findings]
    meant = bce_meant(patient) if "output" in chosen else None
    not_done = {skip.check for skip in skipped} - {finding.check for finding in findings}
    return Examination(
        target=target,
        findings=in_order(findings, tuple(CHECKS)),
        checks_run=tuple(check for check in chosen if check not in not_done),
        skipped=tuple(skipped),
        seconds=seconds,
        facts=_facts(patient),
        notes=(*notes, *([meant] if meant is not None else [])),
    )


_NOTHING_TO_EXAMINE = Text(
    "the model gives no scores to examine",
    "調べるべきスコアをモデルが返しません",
)
_HOOKS = Text(
    "{count} hooks that were registered on the model were not run.",
    "モデルに登録されたフック{count}個は実行していません。",
)


def run_checks(
    patient: Patient, chosen: Sequence[str], progress: Progress | None = None
) -> tuple[list[Finding], list[Skip], dict[str, float]]:
    """Runs checks one by one: what they found, what was not done, and the seconds of each."""
    findings: list[Finding] = []
    skipped: list[Skip] = []
    seconds: dict[str, float] = {}
    for number, check in enumerate(chosen):
        if progress is not None:
            progress(check, number, len(chosen))
        begun = time.monotonic()
        if check in ("overfit", "learning-rate") and patient.deadline == float("inf"):
            patient.deadline = begun + LEARNING_SECONDS
        try:
            if patient.classes == 1 and check in OF_SEVERAL_SCORES:
                raise Skipped(_ONE_SCORE, is_left_out=True)
            for finding in CHECKS[check](patient):
                findings.append(finding)
        except Skipped as why:
            skipped.append(why.of(check))
        except LensError as error:
            skipped.append(Skip(check, not_followed(error)))
        except (Exception, SystemExit) as error:  # one check is not worth the examination
            failed = _FAILED.format(kind=type(error).__name__, said=first_line(error))
            skipped.append(Skip(check, _WITHOUT_GRADIENT if _WRITTEN_OVER in str(error) else failed))
        seconds[check] = time.monotonic() - begun
    return findings, skipped, seconds


_ONE_SCORE = Text(
    "the model gives one score (two classes, told apart by its sign), and this check compares the scores of several",
    "モデルのスコアは1つだけ（符号で2クラスを判別）なので、複数のスコアを比べるこのチェックは行いません",
)
_WRITTEN_OVER = "needed for gradient computation has been modified"
_WITHOUT_GRADIENT = Text(
    "the gradient cannot be computed (see gradient)",
    "勾配を計算できません（gradientを参照）",
)
_FAILED = Text(
    "the experiment ended in an error: {kind} ({said})",
    "実験がエラーで終わりました：{kind}（{said}）",
)


def _facts(patient: Patient) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "parameters": patient.parameter_count,
        "classes": patient.classes,
        "image": list(patient.images.shape[1:]),
        "precision": str(patient.dtype).removeprefix("torch."),
        "seed": SEED,
        "real_images": patient.has_real_images,
    }
    try:
        facts |= {"blocks": len(patient.anatomy.blocks), "tokens": len(patient.layout.patch_of_token)}
    except Skipped:
        facts |= {"blocks": None, "tokens": None}
    return facts


@contextmanager
def as_it_was() -> Iterator[None]:
    """Random states begin at one seed in the block, and are after it what they were, as are torch's default precision, its gradient mode and its
    choice of algorithms."""
    dtype, grad = torch.get_default_dtype(), torch.is_grad_enabled()
    exact, only_warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.inference_mode(False), seeded(), without_autocast("cpu"):
        torch.set_grad_enabled(True)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            torch.set_grad_enabled(grad)
            if (
                torch.are_deterministic_algorithms_enabled() is not exact
            ):  # the call loads the compiler, which takes seconds
                torch.use_deterministic_algorithms(exact, warn_only=only_warned)
