"""Reads somebody's images, within limits. In goes a loader or a data set of any make, out comes a `Seen`.

A loader is read in its own order, a data set that can be asked by number in an order drawn at random. Then the same images are asked for a second
time: what comes back the same was not augmented.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from traceback import clear_frames
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, SequentialSampler

from vitscope._core.errors import DataError, VitscopeError
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.doctor.data.batches import as_batch, holds_images
from vitscope.doctor.data.origin import base_of, called_in, names_of, names_of_loader
from vitscope.doctor.data.seen import Again, Reading, Seen, of_set, tally
from vitscope.doctor.data.showing import code_that_shows

TWICE = 64
"""Images that a data set is asked for twice."""
FIRST, FEWEST_IN_ORDER = 8, 20
"""Batches of two epochs whose order is compared, and images, under which chance could give the same."""
VARIABLES = {"training": "train", "validation": "validation"}
"""What the sets are called in code."""
BATCHES = 1000
"""From this many on, batches of two epochs are not held against each other."""
ONCE_ONLY = Text(
    "the {name} loader can be gone through once only", "{name}データのローダーは一度しか読み進められません"
)
STREAM = Text(
    "the {name} set is a stream that gives its images in its own order",
    "{name}データは独自の順序で画像を返すストリームです",
)

UNKNOWN_LENGTH = Text(
    "the {name} loader does not tell how many images it has", "{name}データのローダーから画像の総数が分かりません"
)


def look_at(source: Any, name: Text, seconds: float) -> Seen:
    """Reads a set, for at most about so many seconds a pass.

    Raises:
        DataError: it holds no images, or reading it fails.
    """
    which = name.en
    if holds_images(source):
        return replace(look_at([source], name, seconds), showing=code_that_shows(source, "one batch", VARIABLES[which]))
    if isinstance(source, Mapping):
        raise DataError(
            f"the {which} set is a dictionary with {', '.join(map(str, list(source)[:6]))}; give one of them"
        )
    if _is_pair(source):
        seen = look_at(_Pair(source[0], source[1]), name, seconds)
        return replace(seen, showing=code_that_shows(source, "one batch", VARIABLES[which]))
    try:
        if isinstance(source, DataLoader):
            return _of_loader(source, name, seconds)
        if _is_indexed(source) and not isinstance(source, IterableDataset):
            if not len(source):
                raise DataError(f"the {which} set holds no images; give a loader or a data set that does")
            if as_batch(source[0], which).is_one:
                return _of_set(source, name, seconds)
        if not hasattr(source, "__iter__") and not hasattr(source, "__getitem__"):
            raise DataError(f"the {which} set is {type(source).__name__}, expected a loader or a data set")
        return _of_iterable(source, name, seconds)
    except VitscopeError:
        raise
    except Exception as error:
        clear_frames(error.__traceback__)  # a loader's iterator in them keeps its workers, for ten seconds more
        raise DataError(f"reading the {which} images failed ({_said(error)})") from error


def _said(error: Exception) -> str:
    """What an error says; of one in a worker, what it says there."""
    lines = str(error).strip().splitlines()
    if lines and lines[0].startswith("Caught") and "worker" in lines[0]:
        return lines[-1][:200]
    return f"{type(error).__name__}: {first_line(error)}"


class _Pair:
    """Arrays of all images and all labels, asked by number."""

    def __init__(self, images: Any, labels: Any) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.images[index], self.labels[index]


def _is_pair(source: Any) -> bool:
    if not (isinstance(source, tuple | list) and len(source) == 2):
        return False
    images, labels = source
    return getattr(images, "ndim", 0) in (3, 4) and getattr(labels, "ndim", 0) in (1, 2) and len(images) == len(labels)


def _is_indexed(source: Any) -> bool:
    return hasattr(source, "__getitem__") and hasattr(source, "__len__")


def _of_set(source: Any, name: Text, seconds: float) -> Seen:
    """A data set: images drawn at random, some of them twice."""
    order = torch.randperm(len(source), generator=torch.Generator().manual_seed(0)).tolist()
    reading = Reading(name, seconds)
    showing = ""
    for place in order:
        value = source[place]
        showing = showing or code_that_shows(value, "images", VARIABLES[name.en])
        if not reading.take(as_batch(value, name.en)):
            break
    again = _asked_twice(source, order, lambda items: [as_batch(item, name.en).images for item in items])
    return replace(
        _seen(reading, total=len(source)),
        batches=(),
        again=again,
        origin=names_of(source),
        base=base_of(source),
        called=called_in(source, order[: len(reading.raw)]),
        showing=showing,
    )


def _of_loader(loader: DataLoader[Any], name: Text, seconds: float) -> Seen:
    """torch's own loader: its batches in their order; its data set, where that can be asked by number, twice."""
    reading = Reading(name, seconds)
    begun, showing = iter(loader), ""
    for value in begun:
        showing = showing or code_that_shows(value, "batches", VARIABLES[name.en])
        if not reading.take(as_batch(value, name.en)):
            break
    del begun  # ends its workers
    if not reading.batches:
        raise DataError(f"the {name.en} loader gives no batch; lower its batch size, or take drop_last=True out")
    dataset = loader.dataset
    if isinstance(dataset, IterableDataset) or not _is_indexed(dataset):
        return replace(_seen(reading), why_not_again=of_set(STREAM, name), showing=showing)
    total = _length(loader.sampler)
    if loader.batch_sampler is None:
        again = _second_pass(loader, reading, name, seconds, total)
    else:
        order = torch.randperm(_length(dataset) or 0, generator=torch.Generator().manual_seed(0)).tolist()
        collate = loader.collate_fn
        again = _asked_twice(dataset, order, lambda items: [as_batch(collate(items), name.en).images])
        again = replace(again, same_order=_same_order(loader), anew=_is_drawn_anew(loader))
    size = loader.batch_size or 0
    drops = bool(loader.drop_last) and bool(size) and total is not None and total == _length(dataset)
    return replace(
        _seen(reading, total=total),
        again=again,
        origin=names_of_loader(loader),
        base=base_of(dataset),
        showing=showing,
        called=called_in(dataset, range(len(reading.raw))) if type(loader.sampler) is SequentialSampler else (),
        left_out=(total or 0) % size if drops else 0,
    )


def _of_iterable(source: Any, name: Text, seconds: float) -> Seen:
    """Anything else that can be gone through: batches or single images, in its order."""
    first = iter(source)
    reading, is_whole = Reading(name, seconds), True
    singles, showing = 0, ""
    for value in first:
        batch = as_batch(value, name.en)
        showing = showing or code_that_shows(value, "images" if batch.is_one else "batches", VARIABLES[name.en])
        singles += batch.is_one
        if not reading.take(batch):
            is_whole = next(first, None) is None
            break
    if not reading.batches:
        raise DataError(f"the {name.en} loader gives no batch; give one that does")
    count = _length(source)
    total = len(reading.raw) if is_whole else count * reading.batches[0] if count else None
    seen = replace(_seen(reading, total=total, is_whole=is_whole), showing=showing)
    if singles == len(reading.batches):
        seen = replace(seen, batches=())
    if first is source:
        return replace(seen, why_not_again=of_set(ONCE_ONLY, name))
    if isinstance(source, IterableDataset):
        return replace(seen, why_not_again=of_set(STREAM, name))
    again = _second_pass(source, reading, name, seconds, total)
    if again is None:
        return replace(seen, why_not_again=of_set(UNKNOWN_LENGTH, name))
    if isinstance(source, Sequence) or not _can_say_order(source):
        again = replace(again, same_order=None)
    return replace(seen, again=again)


def _seen(reading: Reading, *, total: int | None = None, is_whole: bool | None = None) -> Seen:
    labels = reading.all_labels
    return Seen(
        name=reading.name,
        images=torch.cat(reading.images),
        kept=torch.tensor(reading.places),
        is_uint8=reading.is_uint8,
        labels=labels,
        width=reading.width,
        batches=tuple(reading.batches),
        digests=tuple(reading.digests),
        total=total,
        is_whole=len(reading.raw) >= total if is_whole is None and total is not None else bool(is_whole),
    )


def _asked_twice(source: Any, order: Sequence[int], pixels: Callable[[list[Any]], list[Tensor]]) -> Again:
    """The same places asked for twice; whether what comes out is the same, pixel by pixel."""
    places = order[:TWICE]
    one, other = ([image for part in pixels([source[place] for place in places]) for image in part] for _ in range(2))
    same = sum(torch.equal(a, b) for a, b in zip(one, other, strict=False))
    return Again(len(one), same, float(len(one)), None)


def _second_pass(source: Any, reading: Reading, name: Text, seconds: float, total: int | None) -> Again | None:
    """A second pass as long as the first: how many images came back, and whether in the same order; None where others may have come."""
    other = Reading(name, seconds, most=len(reading.raw))
    for value in source:
        if not other.take(as_batch(value, name.en)):
            break
    count = min(len(reading.raw), len(other.raw))
    before = set(reading.raw)
    in_place = sum(a == b for a, b in zip(reading.raw, other.raw, strict=False))
    same = max(sum(each in before for each in other.raw), in_place)
    ordered = _labels_alike(reading.all_labels, other.all_labels)
    if ordered or in_place > count / 2 or total == len(reading.raw):
        return Again(count, same, float(count), ordered)
    return None if total is None else Again(count, same, count * len(reading.raw) / total, ordered)


def _same_order(loader: DataLoader[Any]) -> bool | None:
    """Whether two epochs begin with the same images in the same order, as the sampler says; None where that says nothing."""
    if not all(_can_say_order(each) for each in (loader, loader.sampler, loader.batch_sampler)):
        return None
    one, other = ([list(batch) for batch in islice(iter(loader.batch_sampler or ()), FIRST)] for _ in range(2))
    if sum(map(len, one)) < FEWEST_IN_ORDER or not other:
        return None
    return bool(one == other)


def _is_drawn_anew(loader: DataLoader[Any]) -> bool | None:
    """Whether a second pass makes other batches of the images, as the sampler says; None where passes are long or hold one batch."""
    one, other = ([frozenset(batch) for batch in islice(iter(loader.batch_sampler or ()), BATCHES)] for _ in range(2))
    if not 2 <= len(one) < BATCHES:
        return None
    again = set(other)
    return sum(batch in again for batch in one) < 0.1 * len(one)


def _can_say_order(source: Any) -> bool:
    """A loader that is told the epoch's number draws its order from that, and was not told here."""
    return not hasattr(source, "set_epoch")


def _labels_alike(one: Tensor | None, other: Tensor | None) -> bool | None:
    """Whether two passes gave the same labels in the same order; None where chance could have done that."""
    if one is None or other is None:
        return None
    count = min(len(one), len(other))
    shares = torch.tensor(list(tally(one[:count]).values())).double() / max(count, 1)
    if count * (1 - float((shares**2).sum())) < 20:
        return None
    return bool(torch.equal(one[:count], other[:count]))


def _length(source: Any) -> int | None:
    try:
        return len(source)
    except (TypeError, NotImplementedError, AttributeError):
        return None
