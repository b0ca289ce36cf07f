"""What `vitscope compare A B` names: two words in, two entrants that fit together and the course that they race on out.

An entrant is made anew for each seed: a built-in name, a YAML file and a run folder from their spec (a run gets fresh weights), code by calling it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from vitscope._core.errors import ConfigError, ModelError, UsageError, VitscopeError
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.raised import CodeError
from vitscope._core.text import LANGS, Text
from vitscope.data import DataSpec, open_data, peek
from vitscope.doctor.arguments import whole
from vitscope.doctor.patient import scores_of
from vitscope.model.create import build
from vitscope.race.course import SEEDS, STEPS, Course
from vitscope.race.entrants import Entrant, Opening, of_its_starts, unheard
from vitscope.race.images import refuse_other_images
from vitscope.race.names import names_of, of_one
from vitscope.recipes.code import model_from_code
from vitscope.recipes.naming import kind_of
from vitscope.recipes.subject import Subject, only_for_code, open_subject
from vitscope.train.duration import Duration
from vitscope.train.randomness import global_generator_restored
from vitscope.train.spec import TrainSpec

BATCHES = (1, 2, 8, 16, 32, 64, 128)
"""Batch sizes of which code has to take one."""
DEFAULT_DATA = "digits"
MOST_SEEDS = 10
MOST_EPOCHS, MOST_STEPS = 1_000, 1_000_000
"""Of each training: what is longer is a slip of the finger."""


@dataclass(frozen=True, eq=False)
class Pair:
    """Two that take the same images."""

    one: Entrant
    other: Entrant
    image_size: tuple[int, int]
    channels: int
    classes: tuple[int | None, int | None]
    """How many scores each gives for an image; None where it gives none."""
    notes: tuple[Text, ...]


@dataclass(frozen=True)
class Wanted:
    """How the user wants them opened and raced."""

    kwargs: tuple[Mapping[str, Any] | None, Mapping[str, Any] | None] = (None, None)
    """Of code; None where the option was not given."""
    image_size: int | None = None
    channels: int | None = None
    data: str | None = None
    duration: str | None = None
    seeds: int | Sequence[int] | None = None
    """How many, or which."""


def open_pair(a: str, b: str, wanted: Wanted, opening: Opening = unheard) -> Pair:
    """Opens both. Code that does not say what images it takes is given those of the other.

    Args:
        a, b: what they are called on the command line.
        wanted: how they are opened.
        opening: told of each before its code runs.

    Raises:
        VitscopeError: one of them cannot be opened, or they take other images, in one sentence.
    """
    kinds = (kind_of(a), kind_of(b))
    for option, value in (("--image-size", wanted.image_size), ("--channels", wanted.channels)):
        if value is not None and "code" not in kinds:
            raise UsageError(
                Text(
                    f"{option} is for package.module:callable; {a} and {b} know their own",
                    f"{option}はpackage.module:callable用です。{a}と{b}では決まっているので、指定する必要はありません",
                )
            )
    for side, (target, kind, given) in zip("ab", zip((a, b), kinds, wanted.kwargs, strict=True), strict=True):
        if given is not None and kind != "code":
            raise only_for_code(f"--kwargs-{side}", target)
    opened: dict[int, Subject] = {}
    for index in sorted((0, 1), key=lambda i: kinds[i] == "code"):  # code last: it may take what the other takes
        first = next(iter(opened.values()), None)
        opening((a, b)[index])
        try:
            opened[index] = _opened((a, b)[index], kinds[index], wanted, wanted.kwargs[index], first)
        except CodeError as error:
            said = CodeError(_with_option_of("ab"[index], error.text))
            raise (of_one("AB"[index], said) if a == b else said) from error
        except VitscopeError as error:
            raise (of_one("AB"[index], error) if a == b else error) from error
    one, other = opened[0], opened[1]
    ours, theirs = one.preprocessing, other.preprocessing
    names = names_of((a, b), (one.name, other.name), wanted.kwargs)
    refuse_other_images(names, (ours.image_size, ours.channels), (theirs.image_size, theirs.channels))
    entrants, classes = [], []
    for target, name, subject, given in zip((a, b), names, (one, other), wanted.kwargs, strict=True):
        opening(target)
        entrants.append(entrant_of(target, name, subject, given))
        classes.append(_classes(subject))
    notes = tuple(note for _, note in entrants if note is not None)
    return Pair(entrants[0][0], entrants[1][0], ours.image_size, ours.channels, (classes[0], classes[1]), notes)


def _with_option_of(side: str, text: Text) -> Text:
    """What other commands advise to give with --kwargs goes into the option of its side here."""
    return Text(*(re.sub(r"--kwargs(?!-)", f"--kwargs-{side}", text[lang]) for lang in LANGS))


def _opened(target: str, kind: str, wanted: Wanted, kwargs: Mapping[str, Any] | None, first: Subject | None) -> Subject:
    """One of the two; code with images of the first, or, where it does not take them, with its own."""
    if kind != "code":
        return open_subject(target)
    size, channels = wanted.image_size, wanted.channels
    if first is not None and size is None and first.preprocessing.image_size[0] == first.preprocessing.image_size[1]:
        size = first.preprocessing.image_size[0]
    if first is not None and channels is None:
        channels = first.preprocessing.channels
    try:
        return open_subject(target, kwargs=kwargs, image_size=size, channels=channels, batches=BATCHES)
    except ModelError:
        if (size, channels) == (wanted.image_size, wanted.channels):
            raise
        size, channels = wanted.image_size, wanted.channels  # which of the two takes what, `open_pair` says
        return open_subject(target, kwargs=kwargs, image_size=size, channels=channels, batches=BATCHES)


def entrant_of(
    target: str, name: str, subject: Subject, kwargs: Mapping[str, Any] | None
) -> tuple[Entrant, Text | None]:
    """What makes one anew, and what a reader must know of it."""
    spec = subject.spec
    if spec is not None:
        return Entrant(name, lambda: build(spec)), _FRESH.format(run=name) if kind_of(target) == "run" else None

    def make() -> nn.Module:
        return model_from_code(target, kwargs).cpu()

    starts, note = of_its_starts(name, make)
    return Entrant(name, make, starts), note


_FRESH = Text(
    "{run} is a run: its architecture races with fresh weights.",
    "{run}は学習結果のフォルダです。その構造を、新しく初期化した重みで競わせます。",
)


def open_course(pair: Pair, wanted: Wanted) -> tuple[Course, Text]:
    """What both are trained on, and a sentence on how the images were fitted.

    Raises:
        VitscopeError: there are no such data, or no such duration or seeds.
    """
    seeds = _seeds(SEEDS if wanted.seeds is None else wanted.seeds)
    spec = DataSpec.parse({"source": wanted.data or DEFAULT_DATA})
    facts = peek(spec)
    channels: Literal[1, 3] = 1 if pair.channels == 1 else 3
    if pair.channels != channels:
        raise UsageError(f"--channels is {pair.channels}, and pictures to race on have 1 (greyscale) or 3 (colour)")
    half = (0.5,) * channels
    preprocessing = Preprocessing(image_size=pair.image_size, channels=channels, mean=half, std=half)
    course = Course(
        splits=open_data(spec, image_size=pair.image_size, channels=channels),
        preprocessing=preprocessing,
        duration=_duration(wanted.duration),
        seeds=seeds,
    )
    _refuse_no_end(course)
    height, width = pair.image_size
    native = facts.native_size
    was = f" ({native[0]}×{native[1]})" if native and native != pair.image_size else ""
    fitted = Text(
        f"Images: {course.data}{was}, fitted to {height}×{width} pixels and {pair.channels} channel{'s' if pair.channels > 1 else ''}.",
        f"画像：{course.data}{was.replace(' (', '（').replace(')', '）')}を{height}×{width}画素、{pair.channels}チャネルに合わせて使います。",
    )
    return course, fitted


def _seeds(wanted: int | Sequence[int]) -> tuple[int, ...]:
    if isinstance(wanted, int):
        seeds = tuple(range(min(wanted, MOST_SEEDS + 1)))
    else:
        seeds = tuple(wanted)
    is_fit = len(set(seeds)) == len(seeds) and all(whole(seed) is not None and seed >= 0 for seed in seeds)
    if is_fit and 1 <= len(seeds) <= MOST_SEEDS:
        return seeds
    raise UsageError(
        Text(
            f"--seeds is {wanted}, expected a number from 1 to {MOST_SEEDS}",
            f"--seedsに{wanted}が指定されましたが、1から{MOST_SEEDS}までの整数を指定する必要があります",
        )
    )


def _duration(text: str | None) -> Duration:
    if text is None:
        return Duration(float(STEPS), "st")
    try:
        return TrainSpec.parse({"duration": text}).duration
    except ConfigError:
        raise UsageError(
            Text(
                f"--duration is {text}, expected epochs such as 10ep or whole steps such as {STEPS}st",
                f"--durationに{text}が指定されましたが、10ep（エポック数）か{STEPS}st（ステップ数）のように指定する必要があります",
            )
        ) from None


def _refuse_no_end(course: Course) -> None:
    """Refuses what nobody waits for.

    Raises:
        UsageError: it is that long.
    """
    duration = course.duration
    if duration.amount > (MOST_EPOCHS if duration.unit == "ep" else MOST_STEPS) or course.steps > MOST_STEPS:
        raise UsageError(
            Text(
                f"--duration is {duration}, expected at most {MOST_EPOCHS}ep or {MOST_STEPS}st",
                f"--durationに{duration}が指定されましたが、指定できるのは{MOST_EPOCHS}epまたは{MOST_STEPS}stまでです",
            )
        )


def refuse_other_classes(pair: Pair, course: Course) -> None:
    """Says before anything is trained that scores and classes do not belong together.

    Raises:
        UsageError: they do not.
    """
    one, other = pair.classes
    names = pair.one.name, pair.other.name
    if one is not None and other is not None and one != other:
        raise UsageError(
            Text(
                f"{names[0]} gives {one} scores for an image and {names[1]} {other}; a race needs models of as many classes",
                f"画像1枚あたりのスコアの数が、{names[0]}は{one}個、{names[1]}は{other}個です。競争には、クラス数の同じモデルが必要です",
            )
        )
    scores = one if one is not None else other
    if scores is not None and scores != course.classes:
        raise UsageError(
            Text(
                f"{names[0]} and {names[1]} give {scores} scores for an image, and {course.data} has {course.classes} classes; "
                f"name data with {scores} classes with --data, or give models with {course.classes}",
                f"{names[0]}と{names[1]}は画像1枚あたり{scores}個のスコアを返しますが、{course.data}は{course.classes}クラスです。"
                f"--dataで{scores}クラスのデータを指定するか、{course.classes}クラスのモデルを指定してください",
            )
        )


def _classes(subject: Subject) -> int | None:
    """How many scores it gives for an image; None where it gives none, which the doctor says better."""
    how = subject.preprocessing
    for batch in BATCHES:
        images = torch.zeros(batch, how.channels, *how.image_size)
        with suppress(Exception), torch.no_grad(), global_generator_restored():
            return int(scores_of(subject.model(images), batch).shape[1])
    return None
