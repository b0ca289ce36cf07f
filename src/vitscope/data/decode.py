"""Many images at once. In go records, out come uint8 pixels in order, decoded by a pool of threads.

Images that are at fault themselves are named, not raised: whoever asks may keep that list. A fault of the machine is raised, because
the same image may be fine the next time.
"""

from __future__ import annotations

import os
import warnings
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from vitscope._core.errors import CorruptImageError, DataError
from vitscope._core.preprocessing import Preprocessing, cannot_be_read, lacks_memory
from vitscope.data.sources.base import Record

TASK = 64
"""Images a task: enough that handing tasks over costs nothing, few enough that 224-pixel images stay below 10 MB."""


@dataclass(frozen=True)
class Unusable:
    """An image that cannot be used, why, and its place in the split (in a task: in the task)."""

    name: str
    why: str
    place: int


@dataclass(frozen=True, eq=False)
class Decoded:
    """The usable images of one task, channels first, with their labels; and the unusable ones."""

    images: UInt8[np.ndarray, "B C H W"]
    labels: list[int]
    unusable: list[Unusable]


def decode_all(records: Iterable[Record], how: Preprocessing) -> Generator[Decoded, None, None]:
    """Decodes records in their order; at most four tasks a thread are under way, so memory stays bounded.

    Raises:
        DataError: a file vanished, the system would not read it, or memory ran out.
    """
    workers = os.cpu_count() or 1
    pending: deque[Future[Decoded]] = deque()
    # Pillow warns of bombs, which decode_image refuses anyway; as an error the warning is not printed. Filters belong to all threads
    # together, so it is set here once and not around each image
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            source = iter(records)
            while task := tuple(islice(source, TASK)):
                pending.append(pool.submit(_decode_task, task, how))
                if len(pending) >= 4 * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def fit(record: Record, how: Preprocessing) -> UInt8[np.ndarray, "H W C"]:
    """One record as the model's size and channels; decoded pixels of the right size pass untouched."""
    height, width = how.image_size
    if isinstance(record.image, np.ndarray) and record.image.shape == (height, width, how.channels):
        return record.image
    return how.to_array(record.open())


def _decode_task(records: tuple[Record, ...], how: Preprocessing) -> Decoded:
    height, width = how.image_size
    images = np.empty((len(records), how.channels, height, width), dtype=np.uint8)
    labels: list[int] = []
    unusable: list[Unusable] = []
    for place, record in enumerate(records):
        try:
            images[len(labels)] = fit(record, how).transpose(2, 0, 1)
        except CorruptImageError as error:
            unusable.append(Unusable(record.name, _reason(str(error), record.name), place))
        except DataError:
            raise
        except MemoryError:
            raise lacks_memory(record.name) from None
        except Exception as error:
            # a damaged image can make Pillow raise anything; only an OSError with a number is the system's
            if isinstance(error, OSError) and error.errno is not None:
                raise cannot_be_read(record.name, error) from None
            unusable.append(Unusable(record.name, f"cannot be decoded ({error or type(error).__name__})", place))
        else:
            labels.append(record.label)
    return Decoded(images[: len(labels)], labels, unusable)


def _reason(message: str, name: str) -> str:
    """A message of `decode_image` without the name before it and the advice behind it."""
    return message.removeprefix(name).partition(";")[0].strip()
