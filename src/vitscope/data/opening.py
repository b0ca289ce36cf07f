"""A run's images. In goes a `DataSpec` and a model's image size, out come the table to train on and the table to measure on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import numpy as np

from vitscope._core.errors import CorruptImageError, DataError
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.suggest import did_you_mean
from vitscope.data.cache import Cached, cache_root, open_cached
from vitscope.data.decode import Unusable
from vitscope.data.digests import RememberedDigests
from vitscope.data.looking import look
from vitscope.data.sources import find_source
from vitscope.data.sources.base import Progress, Source, SourceFacts
from vitscope.data.sources.image_folder import FolderSplit, printable
from vitscope.data.spec import DataSpec
from vitscope.data.splitting import first_of_shuffle, stratified
from vitscope.data.table import DataSplits, ImageTable

HELD_OUT = 0.2
NAMED = 5


def peek(spec: DataSpec, *, progress: Progress | None = None) -> SourceFacts:
    """Label names, channels, native size and split sizes, without decoding more than headers: a few, or all where those are grey.

    Args:
        spec: which data.
        progress: called with (done, total) where all headers have to be read.

    Raises:
        DataError: there is no such source, or it holds no usable data set.
    """
    source = find_source(spec)
    channels, size = look(source, progress)
    counts = {name: len(split) for name, split in source.splits.items()}
    return SourceFacts(source.name, source.label_names, channels, size, counts)


def open_data(
    spec: DataSpec, *, image_size: tuple[int, int], channels: int | None = None, progress: Progress | None = None
) -> DataSplits:
    """The training and the validation images, decoded once and then memory-mapped.

    Args:
        spec: which data, and how divided.
        image_size: height and width that images are fitted to, in pixels.
        channels: 1 or 3; None is the source's own, which is 1 only where every image is greyscale.
        progress: called with (done, total) while files are read or decoded; a pass over the data begins at a new total.

    Raises:
        CorruptImageError: images cannot be used and `spec.skip_corrupt` is false; all of them are counted, the first are named.
        DataError: no such source, an empty class, a split without images, an unwritable cache.
    """
    source = find_source(spec)
    val_split = _val_split(source, spec)
    wanted = ["train"] + ([val_split] if val_split else [])
    tables, skipped, keys = _tables(source, spec, wanted, image_size, channels, progress)
    train = tables["train"]
    if val_split:
        val, val_name = tables[val_split], val_split
    else:
        fraction = spec.val_fraction or HELD_OUT
        keep, held = stratified(train.labels, fraction, spec.split_seed)
        if not len(held):
            raise DataError(
                f"{source.name} has {len(train)} training images, too few to hold out a part of {fraction:g} for validation; "
                "add images or a test/ folder"
            )
        val, val_name = train.subset(held, name=f"{source.name} held-out"), "held-out"
        train = train.subset(keep)
    if spec.limit is not None and spec.limit < len(train):
        train = train.subset(first_of_shuffle(len(train), spec.limit, spec.split_seed))
    division = f"{keys} {val_name} {spec.val_fraction} {spec.split_seed} {spec.limit}"
    if skipped:
        # which images cannot be used is up to the Pillow that decoded them, and a resume must be over the same ones
        division += json.dumps(skipped)
    content_key = hashlib.sha256(division.encode()).hexdigest()[:32]
    return DataSplits(
        train,
        val,
        val_name,
        source.label_names,
        content_key,
        skipped=skipped,
        ignored=source.ignored,
        first_ignored=source.first_ignored,
    )


def open_split(
    spec: DataSpec,
    split: str,
    *,
    image_size: tuple[int, int],
    channels: int | None = None,
    progress: Progress | None = None,
) -> ImageTable:
    """One whole split of a source by its name, in the source's order, e.g. all of a folder that has only `train`.

    Raises:
        DataError: the source has no such split, and what `open_data` raises.
    """
    source = find_source(spec)
    if split not in source.splits:
        raise DataError(no_split(source.name, split, list(source.splits)))
    return _tables(source, spec, [split], image_size, channels, progress)[0][split]


def _val_split(source: Source, spec: DataSpec) -> str | None:
    """The split of the source's own to measure on; None where a part of the training split is held out."""
    if spec.val_fraction is not None:
        return None
    if spec.val_split is not None:
        if spec.val_split not in source.splits or spec.val_split == "train":
            raise DataError(no_split(source.name, spec.val_split, list(source.splits)))
        return spec.val_split
    return next((name for name in ("validation", "test") if name in source.splits), None)


def no_split(source: str, split: str, names: Sequence[str]) -> str:
    """The sentence for a split that does not exist."""
    return f"{source} has no split '{split}'{did_you_mean(split, names)}; it has {', '.join(names)}"


def _tables(
    source: Source,
    spec: DataSpec,
    wanted: Sequence[str],
    image_size: tuple[int, int],
    channels: int | None,
    progress: Progress | None,
) -> tuple[dict[str, ImageTable], tuple[str, ...], str]:
    """Tables by split name, the names left out, and a key of it all."""
    channels = channels or look(source, progress)[0]
    if channels not in (1, 3):
        raise DataError(f"channels is {channels}, expected 1 (greyscale) or 3 (colour)")
    half = (0.5,) * channels
    how = Preprocessing(
        image_size=image_size, channels=cast(Literal[1, 3], channels), resize=spec.resize, mean=half, std=half
    )
    digest = RememberedDigests(cache_root(), source.files_root or Path(), progress)
    opened = {
        name: open_cached(source.splits[name], how, digest=digest, keep_incomplete=spec.skip_corrupt, progress=progress)
        for name in wanted
    }
    unusable = [image for cached in opened.values() for image in cached.unusable]
    if unusable and not spec.skip_corrupt:
        raise CorruptImageError(_corrupt(unusable, sum(len(source.splits[name]) for name in wanted)))
    tables = {name: _table(source, name, cached) for name, cached in opened.items()}
    if unusable and "train" in tables:
        left = np.bincount(tables["train"].labels, minlength=len(source.label_names))
        for name, count in zip(source.label_names, left, strict=True):
            if count == 0:
                raise DataError(
                    f"class '{name}' of {source.name} has no usable image left; add images or remove the class"
                )
    return tables, tuple(image.name for image in unusable), " ".join(cached.content for cached in opened.values())


def _table(source: Source, split: str, cached: Cached) -> ImageTable:
    if not len(cached.labels):
        raise DataError(f"the {split} split of {source.name} has no usable images; add images")
    left_out = [image.place for image in cached.unusable]
    places = np.delete(np.arange(len(cached.labels) + len(left_out)), left_out) if left_out else None
    name = f"{source.name} {split}"
    own = source.splits[split]
    files = tuple(map(printable, own.files)) if isinstance(own, FolderSplit) else ()
    return ImageTable(cached.images, cached.labels, source.label_names, name, split=split, places=places, files=files)


def _corrupt(unusable: Sequence[Unusable], total: int) -> str:
    """One sentence: how many, the first few with what is wrong with each, and what to do."""
    named = ", ".join(f"{image.name} {image.why}" for image in unusable[:NAMED])
    more = f" and {len(unusable) - NAMED} more" if len(unusable) > NAMED else ""
    return (
        f"{len(unusable)} of {total} images cannot be used: {named}{more}; remove or replace them, or leave them out with "
        "data.skip_corrupt=true"
    )
