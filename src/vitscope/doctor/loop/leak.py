"""Whether the validation loader gives images of the training loader. In goes the record of a loop, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from vitscope._core.text import Text
from vitscope.doctor.data.origin import base_of, in_common, names_of_loader
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.loop.passes import Phase
from vitscope.doctor.loop.record import Record

LARGE, FEWEST = 0.01, 3
"""The share of the validation images, and how many: data sets are born with some that are in them twice."""
SURE, MANY = 0.2, 10
"""The same where only pixels tell: of simple images some are alike."""
LEAK = Fault(
    "validation-loader-draws-training-images",
    "D3",
    "loop-data",
    "warning",
    Text(
        "What was trained on says nothing about new images: validation accuracy follows training accuracy, and overfitting cannot be seen.",
        "学習に使った画像では、未知の画像に対する性能は測れません。検証画像の正解率が学習画像の正解率に追随し、過学習が見えなくなります。",
    ),
    Text(
        "split once, by numbers that do not overlap, and make both loaders from that; train on the Subset, not on its .dataset",
        "重ならないインデックスで一度だけ分割し、両方のローダーをその分割から作ってください。Subsetの.datasetではなくSubset自体で学習してください",
    ),
    "order = torch.randperm(len(train_set)).tolist()   # once, for both\n"
    "train_loader = DataLoader(Subset(augmented, order[5_000:]), batch_size=128, shuffle=True)\n"
    "val_loader = DataLoader(Subset(plain, order[:5_000]), batch_size=256)",
)


class _Shared(NamedTuple):
    """Validation images that are training images: how many of how many, and their share, reckoned for all of them."""

    number: int
    of: int
    share: float


def leak(record: Record) -> Iterator[Finding]:
    """By the places, files or pixels that the data sets tell of; else by the numbers in the batches themselves."""
    if record.loader is None or record.val_loader is None or record.loader is record.val_loader:
        return
    shared = _by_origin(record.loader, record.val_loader) or _by_pixels(record)
    if shared is None:
        return
    yield LEAK.found(
        Text(
            f"{shared.number:,} of {shared.of:,} validation images are images that the training loader draws too.",
            f"検証画像{shared.of:,}枚のうち{shared.number:,}枚が、学習用ローダーからも出てくる画像です。",
        ),
        {"shared": shared.number, "validation_images": shared.of, "share": shared.share},
    )


def _by_origin(train: Any, validation: Any) -> _Shared | None:
    names = [names_of_loader(each) if hasattr(each, "dataset") else None for each in (train, validation)]
    if not names[0] or not names[1]:
        return None
    count = in_common(names[0], base_of(train.dataset), names[1], base_of(validation.dataset))
    share = count / len(names[1])
    return _Shared(count, len(names[1]), share) if share >= LARGE and count >= FEWEST else None


def _by_pixels(record: Record) -> _Shared | None:
    train, validation = _pixels(record, "train"), _pixels(record, "val")
    if not train or not validation:
        return None
    count = len(train & validation)
    try:
        part = min(1.0, len(train) / len(record.loader.dataset))
    except (TypeError, AttributeError, NotImplementedError, ZeroDivisionError):
        part = 1.0
    share = min(1.0, count / len(validation) / part)
    return _Shared(count, len(validation), share) if share >= SURE and count >= MANY else None


def _pixels(record: Record, phase: Phase) -> set[bytes]:
    return {each for seen in record.passes if seen.phase == phase for each in seen.pixels}
