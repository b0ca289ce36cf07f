"""What to measure: in go the words of a command, out comes a plan, blocks of cells in the order in which they are measured. No torch.

A cell is one library, mode, precision, batch and model, compiled or not. The same cells of all libraries stand in one block: their rounds
are interleaved. The blocks that matter most come first, so that a budget that runs out takes the least; `care_of` alone says how
thoroughly each is measured.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, Literal, get_args

from vitscope._core.errors import UsageError
from vitscope._core.suggest import did_you_mean
from vitscope.model.spec import ViTSpec

Mode = Literal["train", "inference"]
Precision = Literal["fp32", "bf16"]
MODES: tuple[Mode, ...] = get_args(Mode)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OURS = "vitscope"
PEERS = ("vit-pytorch", "timm", "transformers", "torchvision")
OF_ONES_OWN = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*")
"""`package.module:function`: takes a `ViTSpec`, gives a module; a library of the user's own."""
_PLAIN: dict[str, Any] = {
    "pooling": "class-token",
    "position": "learned",
    "norm": "pre",
    "activation": "gelu",
    "dropout": 0.0,
}
MODELS: dict[str, ViTSpec] = {
    "specimen": ViTSpec(
        image_size=(32, 32), patch_size=(4, 4), dim=192, depth=6, heads=3, mlp_dim=512, classes=10, **_PLAIN
    ),
    "vit-s16-224": ViTSpec(dim=384, depth=12, heads=6, **_PLAIN),
    "vit-b16-224": ViTSpec(**_PLAIN),
}
"""The models that can be measured. `specimen` is the size of the two printed models, as a plain ViT without dropout."""
HEADLINE = (("specimen", 128), ("vit-b16-224", 8))
_DEFAULT: dict[str, tuple[int, ...]] = {"specimen": (128, 32, 1, 512), "vit-b16-224": (8, 1)}
_FULL: dict[str, tuple[int, ...]] = {
    "specimen": (128, 32, 1, 512, 8, 64, 256, 1024),
    "vit-b16-224": (8, 1, 2, 4, 16),
    "vit-s16-224": (8, 1, 16, 32),
}
_COMPILED = ("specimen", 128)
LONG = 0.5
"""Seconds: a step this long needs no other before it to warm up, but for the very first, which also asks for all the memory."""
MOST_BATCH, MOST_ROUNDS, MOST_MINUTES = 65536, 1000, 24 * 60


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    model: str
    library: str
    mode: Mode
    precision: Precision
    compiled: bool
    batch: int

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Block:
    """Cells whose rounds are interleaved: all libraries for one model, batch, mode and precision."""

    model: str
    batch: int
    mode: Mode
    precision: Precision
    compiled: bool
    headline: bool
    """Whether it is one of the blocks for which the bench is run at all."""
    libraries: tuple[str, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """A cell for each library."""
        return tuple(
            Cell(self.model, library, self.mode, self.precision, self.compiled, self.batch)
            for library in self.libraries
        )


@dataclass(frozen=True)
class Care:
    """How thoroughly a block is measured."""

    rounds: int
    """At most."""
    weight: int
    """Beside those of the later blocks: its part of the time that is left after its first round, for further ones."""
    slice_seconds: float
    """A round repeats a step until this has passed, once at least."""
    try_below: float
    """Seconds: every setting is tried where a step is shorter, else the one that was chosen for another batch or precision goes on."""


def care_of(block: Block, quickest: Precision, rounds: int) -> Care:
    """The one place that says what is measured how thoroughly; `quickest` is the precision in which the machine multiplies fastest.

    `tests/bench/test_bench_run.py` works the default plan out with the figures of a recorded run: it has to fit its budget.
    """
    quick, few = block.precision == quickest, min(rounds, 2)
    if block.headline:
        return Care(rounds, 12, 0.3, math.inf) if quick else Care(few, 2, 0.2, 1.0)
    if block.compiled:
        return Care(few, 3 if quick else 0, 0.3, 0.0)
    return Care(few if quick else 1, 5, 0.1, 0.05)


@dataclass(frozen=True)
class Plan:
    """All that a bench is asked to do."""

    blocks: tuple[Block, ...]
    libraries: tuple[str, ...]
    rounds: int = 5
    """At most; see `care_of`."""
    minutes: float | int = 9.5
    threads: int | None = None
    """Of each measuring process; by default what torch takes."""
    startup: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {
            "libraries": list(self.libraries),
            "rounds": self.rounds,
            "minutes": self.minutes,
        }


def make_plan(
    peers: str | None = None,
    models: str | None = None,
    *,
    batches: str | None = None,
    rounds: int = 5,
    minutes: float | int = 9.5,
    full: bool = False,
    threads: int | None = None,
) -> Plan:
    """The plan that the words of a command stand for.

    Args:
        peers: names with commas between them, or `none`; all if left out.
        models: names of `MODELS` with commas; the specimen and ViT-B/16 if left out.
        batches: numbers with commas, for every model; each model's own if left out.
        rounds: of the headline's blocks in the quickest precision, where the budget allows; `care_of` tells those of the others.
        minutes: the budget; what no time is left for is skipped by name.
        full: ViT-S/16 and more batches too, and everything compiled as well.
        threads: of each measuring process.

    Raises:
        UsageError: an unknown name (with the nearest), a batch below 1, no rounds, no minutes.
    """
    check_numbers(rounds=rounds, minutes=minutes, threads=threads)
    sizes = _FULL if full else _DEFAULT
    chosen = _names("model", models, tuple(MODELS)) if models is not None else tuple(sizes)
    asked = _batches(batches) if batches is not None else None
    libraries = (OURS, *_libraries(peers))
    pairs = [(model, batch) for model in chosen for batch in (asked or sizes.get(model) or _FULL[model])]
    head = [pair for pair in HEADLINE if pair in pairs] or pairs  # somebody's own choice is a headline too
    rest = [pair for pair in pairs if pair not in head]
    quick, slow = reversed(PRECISIONS)

    def blocks(pairs: Sequence[tuple[str, int]], *precisions: Precision, compiled: bool = False) -> list[Block]:
        return [
            Block(*pair, mode, precision, compiled, pair in head and not compiled, libraries)
            for pair in pairs
            for mode in MODES
            for precision in precisions
        ]

    first = [pair for pair in pairs if pair == _COMPILED]
    later = [pair for pair in pairs if pair != _COMPILED and full]
    ordered = [
        *blocks(head, quick, slow),
        *blocks(first, quick, compiled=True),
        *blocks(rest, quick),
        *blocks(rest, slow),
        *blocks(first, slow, compiled=True),
        *blocks(later, quick, slow, compiled=True),
    ]
    return Plan(blocks=tuple(ordered), libraries=libraries, rounds=rounds, minutes=minutes, threads=threads)


def check_numbers(*, rounds: int, minutes: float | int, threads: int | None) -> None:
    """Refuses numbers that no bench can be run with."""
    _check("rounds", rounds, 1, MOST_ROUNDS)
    _check("minutes", minutes, 0.01, MOST_MINUTES)
    if threads is not None:
        _check("threads", threads, 1, 4096)


def _check(name: str, value: float | int, least: float | int, most: float | int) -> None:
    if not least <= value <= most:  # nan too
        raise UsageError(f"--{name} is {value:g}, expected a number from {least:g} to {most:g}")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _names(what: str, text: str, known: Sequence[str]) -> tuple[str, ...]:
    names = _words(text)
    if not names:
        raise UsageError(f"--{what}s names nothing; there are: {', '.join(known)}")
    for name in names:
        if name not in known:
            raise UsageError(f"no {what} '{name}' to measure{did_you_mean(name, known)}; there are: {', '.join(known)}")
    return tuple(dict.fromkeys(names))


def _libraries(text: str | None) -> tuple[str, ...]:
    if text is None:
        return PEERS
    if _words(text) == ["none"]:
        return ()
    own = [word for word in _words(text) if OF_ONES_OWN.fullmatch(word)]
    for word in own:
        package = word.partition(":")[0].partition(".")[0]
        if find_spec(package) is None:
            raise UsageError(
                f"--peers names {word}, but there is no package '{package}' to import; put its folder on PYTHONPATH"
            )
    others = [word for word in _words(text) if word not in own]
    named = _names("peer", ",".join(others), (*PEERS, "none")) if others or not own else ()
    if "none" in named:
        raise UsageError("--peers none stands alone: it means vitscope and nobody else; leave the other names out")
    order = [word for word in dict.fromkeys(_words(text)) if word in named or word in own]
    return tuple(order)


def _batches(text: str) -> tuple[int, ...]:
    found: list[int] = []
    for word in _words(text):
        if not re.fullmatch(r"[+-]?\d{1,9}", word) or not 1 <= int(word) <= MOST_BATCH:
            raise UsageError(
                f"--batches holds '{word}', expected whole numbers from 1 to {MOST_BATCH} with commas, such as 1,128"
            )
        found.append(int(word))
    if not found:
        raise UsageError("--batches names no number, expected whole numbers with commas, such as 1,128")
    return tuple(dict.fromkeys(found))
