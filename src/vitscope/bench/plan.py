"""What to measure: in go the words of a command, out comes a plan, blocks of cells in the order in which they are measured. No torch.

A cell is one library, mode, precision, batch and model, compiled or not. Cells that are compared with each other stand in one block:
their rounds are interleaved. The blocks that matter most come first, so that a budget that runs out takes the least.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
    """Cells whose rounds are interleaved: all libraries and these precisions of one model, batch and mode."""

    model: str
    batch: int
    mode: Mode
    precisions: tuple[Precision, ...]
    compiled: bool
    libraries: tuple[str, ...]

    @property
    def headline(self) -> bool:
        """Whether it is one of the blocks for which the bench is run at all."""
        return (self.model, self.batch) in HEADLINE and not self.compiled

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Its cells, the quicker precision first."""
        return tuple(
            Cell(self.model, library, self.mode, precision, self.compiled, self.batch)
            for precision in self.precisions
            for library in self.libraries
        )


@dataclass(frozen=True)
class Plan:
    """All that a bench is asked to do."""

    blocks: tuple[Block, ...]
    libraries: tuple[str, ...]
    rounds: int = 5
    minutes: float | int = 9.5
    slice_seconds: float = 0.3
    """A round repeats a step until this has passed, once at least."""
    threads: int | None = None
    """Of each measuring process; by default what torch takes."""
    startup: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {
            "libraries": list(self.libraries),
            "rounds": self.rounds,
            "minutes": self.minutes,
            "slice_seconds": self.slice_seconds,
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
        rounds: rounds of each block; slow blocks may get fewer, never less than two while the budget lasts.
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
    eager: list[Block] = []
    for pair in sorted(pairs, key=lambda pair: HEADLINE.index(pair) if pair in HEADLINE else len(HEADLINE)):
        eager += [Block(*pair, mode, ("bf16", "fp32"), False, libraries) for mode in MODES]
    compiled: list[Block] = []
    for precision in reversed(PRECISIONS):
        compiled += [
            Block(b.model, b.batch, b.mode, (precision,), True, libraries)
            for b in eager
            if full or (b.model, b.batch) == _COMPILED
        ]
    head = [block for block in eager if block.headline]
    rest = [block for block in eager if not block.headline]
    quick = [block for block in compiled if (block.model, block.batch) == _COMPILED and block.precisions == ("bf16",)]
    slow = [block for block in compiled if block not in quick]
    return Plan(
        blocks=(*head, *quick, *rest, *slow), libraries=libraries, rounds=rounds, minutes=minutes, threads=threads
    )


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
