"""What every source looks like from outside: named splits of records. A record is an image that is not decoded yet, and its label.

The cache asks a split for a key first (cheap: a digest of its content) and for its records only when nothing is cached.
"""

from __future__ import annotations

import errno
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vitscope._core.preprocessing import cannot_be_read, decode_image

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Called with what is done and the total; begins again at a new total when another pass over the data begins."""

Digester = Callable[[Sequence[Path | str]], list[str]]
"""Content digests of files, in their order."""

SPLIT_WORDS = dict.fromkeys(("train", "training"), "train")
SPLIT_WORDS |= dict.fromkeys(("test", "testing", "eval", "evaluation"), "test")
SPLIT_WORDS |= dict.fromkeys(("validation", "valid", "val", "dev"), "validation")


@dataclass(frozen=True, eq=False)
class Record:
    """One image and its label. `image` is a file, its bytes, or decoded uint8 [H, W, C]."""

    name: str
    label: int
    image: Path | bytes | UInt8[np.ndarray, "H W C"]

    def open(self) -> Image.Image:
        """The decoded picture in its own size and mode.

        Raises:
            CorruptImageError: it is no usable image; the message begins with `name`.
            DataError: it cannot be read now.
        """
        if isinstance(self.image, np.ndarray):
            return Image.fromarray(self.image[:, :, 0] if self.image.shape[2] == 1 else self.image)
        try:
            content = self.image if isinstance(self.image, bytes) else self.image.read_bytes()
        except OSError as error:
            raise cannot_be_read(self.name, error) from None
        return decode_image(content, self.name)


class Split(ABC):
    """A named part of a source."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def key(self, digest: Digester) -> str:
        """Text that changes when any image or label of this split changes."""

    @abstractmethod
    def records(self) -> Iterator[Record]:
        """All images in their fixed order, read little by little."""

    def record(self, index: int) -> Record:
        """The image at one position."""
        return next(islice(self.records(), index, None))


@dataclass(frozen=True)
class SourceFacts:
    """What can be said about a source without decoding it.

    `native_size` is (height, width) where all images that were looked at have one size; `channels` is 1 for a source of which every
    image is greyscale, else 3.
    """

    name: str
    label_names: tuple[str, ...]
    channels: int
    native_size: tuple[int, int] | None
    splits: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_names": list(self.label_names),
            "channels": self.channels,
            "native_size": list(self.native_size) if self.native_size else None,
            "splits": dict(self.splits),
        }


@dataclass(frozen=True, eq=False)
class Source:
    """A data set: its splits (`train` first) and what their labels mean.

    `look` answers channels and native size when asked; with `sampled` only from samples, see `looking.py`. `files_root` is the folder
    or file whose digests are remembered. `ignored` counts files passed over because their extension is no image's or no class folder
    holds them; `first_ignored` names one.
    """

    name: str
    label_names: tuple[str, ...]
    splits: Mapping[str, Split]
    look: Callable[[], tuple[int, tuple[int, int] | None]]
    files_root: Path | None = None
    sampled: bool = False
    ignored: int = 0
    first_ignored: str | None = None


def look_at(images: Iterable[Path | bytes]) -> tuple[int, tuple[int, int] | None]:
    """Channels and common size of some images, from their headers; one that is damaged says nothing.

    Raises:
        DataError: the system would not read a file, so that nothing can be said for certain.
    """
    modes: set[str] = set()
    sizes: set[tuple[int, int]] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is wrong with an image is said when it is decoded
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        for image in images:
            try:
                with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as opened:
                    modes.add(opened.mode)
                    sizes.add((opened.height, opened.width))
            except MemoryError:
                raise
            except Exception as error:
                # headers, too, make Pillow raise what it likes; EINVAL is a header that points before the file's beginning
                if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                    raise cannot_be_read(str(image), error) from None
    grey = bool(modes) and all(mode in ("1", "L") or mode.startswith(("I", "F")) for mode in modes)
    return (1 if grey else 3), (sizes.pop() if len(sizes) == 1 else None)


def evenly(items: Sequence[T], count: int) -> list[T]:
    """At most `count` of the items, spread over all of them, the first among them."""
    taken = min(count, len(items))
    return [items[i * len(items) // taken] for i in range(taken)]
