"""Single images as commands name them: `cifar10:test:3`, `digits:17`, `FOLDER:0`, `sample:china`. Out come picture, label, description."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from vitscope._core.errors import DataError
from vitscope._core.suggest import did_you_mean
from vitscope.data.opening import no_split
from vitscope.data.sources import find_source
from vitscope.data.spec import DataSpec

SAMPLES = ("china", "flower")
"""The two photographs that scikit-learn ships: pictures of a real size without a download."""

_ITEM = re.compile(r"(?P<source>.+?)(?::(?P<split>[A-Za-z_]\w*))?:(?P<index>-?\d+)")
_SAMPLE = re.compile(r"sample:(?!-?\d+$)(?P<name>[^:]*)")  # sample:3 is an image of a folder called sample
_SAMPLE_NAMES = " or ".join(f"sample:{name}" for name in SAMPLES)


class Item(NamedTuple):
    """A decoded picture in its own size and mode, the name of its label if it has one, and where it comes from."""

    image: Image.Image
    label: str | None
    description: str


def is_item(text: str) -> bool:
    """Whether `text` has the form SOURCE:index, SOURCE:split:index or sample:NAME and is no existing file."""
    named = _ITEM.fullmatch(text) or _SAMPLE.fullmatch(text)
    return named is not None and not Path(text).exists()


def open_item(text: str, *, spec: DataSpec | None = None) -> Item:
    """One image of a source, or one of `SAMPLES`, which have no label.

    Args:
        text: SOURCE:split:index, SOURCE:index or sample:NAME. Without a split: all of `digits` in scikit-learn's order; of another
            source the test split, else validation, else all.
        spec: settings of a run, e.g. its `archive`; they are used when `text` names the same source, or its folder by the
            last part: `cifar10:test:3` for a run on `../data/cifar10`.

    Raises:
        DataError: no such source, split or sample, an index outside, or an image that cannot be used.
    """
    if sample := _SAMPLE.fullmatch(text):
        return _open_sample(sample["name"])
    match = _ITEM.fullmatch(text)
    if match is None:
        raise DataError(
            f"'{text}' does not name an image; expected SOURCE:split:index (e.g. cifar10:test:3), {_SAMPLE_NAMES}"
        )
    name, split_name, index = match["source"], match["split"], int(match["index"])
    same = spec is not None and name in (spec.source, Path(spec.source).name)
    source = find_source(spec if spec is not None and same else DataSpec(source=name))
    splits = dict(source.splits)
    if name == "digits":
        from vitscope.data.sources.digits import DigitsSplit

        splits["all"] = DigitsSplit("all")
    if split_name is None:
        split_name = next((s for s in ("all", "test", "validation") if s in splits), next(iter(splits)))
    if split_name not in splits:
        raise DataError(no_split(source.name, split_name, list(splits)))
    split = splits[split_name]
    if not 0 <= index < len(split):
        raise DataError(f"{source.name} {split_name} has no image {index}; expected 0 to {len(split) - 1}")
    record = split.record(index)
    description = (
        f"{source.name}, image {index}" if split_name == "all" else f"{source.name} {split_name}, image {index}"
    )
    return Item(record.open(), source.label_names[record.label], description)


def _open_sample(name: str) -> Item:
    if name not in SAMPLES:
        raise DataError(f"no sample image '{name}'{did_you_mean(name, SAMPLES)}; expected {_SAMPLE_NAMES}")
    from sklearn.datasets import load_sample_image

    return Item(Image.fromarray(load_sample_image(f"{name}.jpg")), None, f"scikit-learn's photograph {name}.jpg")
