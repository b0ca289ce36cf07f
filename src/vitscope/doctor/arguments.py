"""What callers tell the doctor beside the model, made sure of: in goes what was given, out comes what the examination works with, or a sentence.
No torch: the command reads it before it loads any."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

from vitscope._core.errors import UsageError
from vitscope._core.suggest import a_, did_you_mean, did_you_mean_text
from vitscope._core.text import LANGS, Lang, Text

LOSSES = ("cross-entropy", "nll", "bce", "mse", "bce-with-logits", "bce-of-probabilities")
"""Losses whose demands on a model's output are known; `bce` is either of the two that torch has."""
_TORCH = {
    "CrossEntropyLoss": "cross-entropy",
    "NLLLoss": "nll",
    "BCEWithLogitsLoss": "bce-with-logits",
    "BCELoss": "bce-of-probabilities",
    "MSELoss": "mse",
}


class ArgumentError(UsageError):
    """What the doctor was told does not fit. `str` is the sentence in the language that was asked for, `text` has both."""

    def __init__(self, text: Text, lang: Lang = "en") -> None:
        super().__init__(text)
        self.args = (text[lang],)


def loss_named(loss: object) -> str | None:
    """The loss by its name here: `cross-entropy`, `CrossEntropyLoss`, the class or an instance of it are one.

    Raises:
        UsageError: it is none of those that are known.
    """
    if loss is None:
        return None
    given = loss if isinstance(loss, str) else loss.__name__ if isinstance(loss, type) else type(loss).__name__
    name = _TORCH.get(given, given.replace("_", "-"))
    if name not in LOSSES:
        raise UsageError(
            f"loss is '{given}'{did_you_mean(given, LOSSES)}, expected one of {', '.join(LOSSES)}, or none"
        )
    return name


def size_given(size: object) -> int | tuple[int, int] | None:
    """Side or (height, width) in pixels.

    Raises:
        UsageError: it is neither.
    """
    sides: tuple[Any, ...] = tuple(size) if isinstance(size, Iterable) and not isinstance(size, str) else (size,)
    if size is None:
        return None
    if not 1 <= len(sides) <= 2 or any(whole(side) is None for side in sides):
        raise UsageError(
            f"image_size is {size!r}, expected the side of the model's images in pixels as a whole number, or (height, width)"
        )
    return int(sides[0]) if len(sides) == 1 else (int(sides[0]), int(sides[1]))


def counts_given(**counts: object) -> None:
    """Refuses what is no whole number from 1 on.

    Raises:
        UsageError: such a one, by its name.
    """
    for name, count in counts.items():
        number = whole(count)
        if count is not None and (number is None or number < 1):
            raise UsageError(f"{name} is {count!r}, expected a whole number from 1 on")


def rate_given(lr: Any) -> float | None:
    """The learning rate; numpy's and torch's numbers are such, too.

    Raises:
        UsageError: it is no finite number over 0.
    """
    if lr is None:
        return None
    try:
        rate = None if isinstance(lr, bool | str | bytes) else float(lr)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        rate = None
    if rate is None or not 0 < rate < float("inf"):
        raise ArgumentError(
            Text(
                f"lr is {shown(lr)}, expected the learning rate you train with as a number over 0; give it, or leave lr out",
                f"lrに{shown(lr)}が渡されましたが、学習に使う学習率を0より大きい数で指定する必要があります。指定するか、lrを省略してください",
            )
        )
    return rate


def lang_given(lang: Any) -> Lang | None:
    """The language that a result is printed in; None where none was asked for.

    Raises:
        UsageError: there is no such language.
    """
    if lang is None:
        return None
    if not isinstance(lang, str) or lang not in LANGS:
        known = Text(", ".join(LANGS), "、".join(LANGS))
        raise ArgumentError(
            Text(
                f"lang is {shown(lang)}, expected one of {known.en}; give one of them, or leave lang out",
                f"langに{shown(lang)}が渡されましたが、{known.ja}のいずれかを指定する必要があります。いずれかを指定するか、langを省略してください",
            )
        )
    return "ja" if lang == "ja" else "en"


def checks_given(checks: Any, known: Iterable[str]) -> tuple[str, ...]:
    """The ids that were asked for, in the order of the examination; all where none were. One may be given as it is.

    Raises:
        UsageError: there is no such check, or what was given is no list of them.
    """
    known = tuple(known)
    if checks is None:
        return known
    asked = (checks,) if isinstance(checks, str) else checks
    names = list(asked) if isinstance(asked, Iterable) else [asked]
    if not isinstance(asked, Iterable) or not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            Text(
                f"checks is {shown(checks)}, expected ids of checks as a list of words; give some of {', '.join(known)}, or leave checks out",
                f"checksに{shown(checks)}が渡されましたが、チェックのIDを文字列のリストで指定する必要があります。{'、'.join(known)}から選ぶか、"
                "checksを省略してください",
            )
        )
    for name in names:
        if name not in known:
            hint = did_you_mean_text(name, known)
            raise UsageError(
                Text(
                    f"there is no check '{name}'{hint.en}; they are {', '.join(known)}",
                    f"'{name}'というチェックはありません{hint.ja}。{'、'.join(known)}から選んでください",
                )
            )
    return tuple(name for name in known if name in names)


def classes_given(classes: Any) -> int | None:
    """How many scores the model gives; numpy's and torch's whole numbers are such, too.

    Raises:
        UsageError: it is no whole number from 1 on.
    """
    if classes is None:
        return None
    count = whole(classes)
    if count is None or count < 1:
        raise ArgumentError(
            Text(
                f"classes is {shown(classes)}, expected how many scores the model gives as a whole number from 1 on; give it, or leave classes out",
                f"classesに{shown(classes)}が渡されましたが、モデルが出力するスコアの数を1以上の整数で指定する必要があります。指定するか、"
                "classesを省略してください",
            )
        )
    return count


def kind_given(name: str, value: Any, kind: type, expected: Text) -> None:
    """Refuses what is neither of a kind nor left out.

    Args:
        name: what the argument is called.
        value: what was given.
        kind: of which it has to be.
        expected: what it is meant to be, and where it comes from.

    Raises:
        UsageError: it is of another kind.
    """
    if value is not None and not isinstance(value, kind):
        raise ArgumentError(
            Text(
                f"{name} is {shown(value)}, expected {expected.en}; give it, or leave {name} out",
                f"{name}に{shown(value)}が渡されましたが、{expected.ja}を渡す必要があります。指定するか、{name}を省略してください",
            )
        )


def whole(number: Any) -> int | None:
    """A whole number of whatever make as Python's; None where it is none."""
    if isinstance(number, bool):
        return None
    if isinstance(number, float):
        return int(number) if number.is_integer() else None
    try:
        return operator.index(number)
    except (TypeError, ValueError, RuntimeError):
        return None


def shown(value: Any) -> str:
    """As Python writes it; of what is long, or an object that has no words of its own, what it is."""
    try:
        words = repr(value)
    except Exception:  # whatever an object of the user's does here
        words = ""
    is_plain = words and len(words) <= 60 and "\n" not in words and " at 0x" not in words
    return words if is_plain else a_(type(value).__name__)
