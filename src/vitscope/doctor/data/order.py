"""In which order a loader gives training images. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.sets import NO_LABELS, Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

CHECK = "data-order"
SORTED, MIXED = 0.9, 0.6
"""Neighbours of one class: from the first share on they are sorted, if no more than the second would be by chance."""
FEWEST = 32
_ADVICE = Text("shuffle the training loader", "学習用ローダーでシャッフルを有効にしてください")
_CODE = "DataLoader(train, batch_size=128, shuffle=True)"
CLASS_SORTED = Fault(
    "training-sorted-by-class",
    "D6",
    CHECK,
    "error",
    Text(
        "Each batch shows one class, so each step teaches the model to answer that class whatever it sees, and to forget the one before.",
        "どのバッチにも1つのクラスしか含まれません。更新のたびに、何を見てもそのクラスと答えるように学び、前のクラスを忘れてしまいます。",
    ),
    _ADVICE,
    _CODE,
    explains=("data-balance", "training-not-shuffled"),
)
NOT_SHUFFLED = Fault(
    "training-not-shuffled",
    "D6",
    CHECK,
    "warning",
    Text(
        "The same images share a batch in every epoch, so steps repeat their errors instead of averaging them out.",
        "毎エポック同じ画像が同じバッチに入るため、更新の偏りが平均されず、同じ形で繰り返されます。",
    ),
    _ADVICE,
    _CODE,
)


def data_order(sets: Sets) -> Iterator[Finding]:
    """Whether training batches are mixed.

    Does: counts how often neighbours have one class, beside how often they would in a random order, and compares the order of labels of two epochs.
    Finds: batches sorted by class (D6, an error), the same order in two epochs (a warning).
    Must not accuse: data sets (their loader may shuffle them), one batch, sets where one class is nearly all, batches with several images
    of each class
    (metric learning), repeated augmentation, streams and lists, whose order is no loader's doing, loaders that are told the epoch's number.
    """
    train = sets.train
    if train.is_table:
        raise Skipped(
            Text(
                "vitscope's own loader shuffles them anew in each epoch",
                "vitscopeのローダーがエポックごとにシャッフルします",
            )
        )
    if len(train.batches) < 2:
        raise Skipped(Text("there are no two batches to look at", "調べられるバッチが2つ以上ありません"))
    if train.labels is None:
        raise Skipped(NO_LABELS)
    finding = _sorted(train.labels, train.batches, _expected_shares(sets))
    if finding is not None:
        yield finding
    if train.again is not None and train.again.same_order:
        count = len(train)
        yield NOT_SHUFFLED.found(
            Text(
                "Two epochs begin with the same labels in the same order.",
                "2つのエポックが、同じラベルの並びで始まっています。",
            ),
            {"images_read": count},
        )


def _expected_shares(sets: Sets) -> Tensor | None:
    """How large each class is, judged without the training loader's order."""
    validation = sets.validation
    train = sets.train
    if train.is_whole or validation is None or validation.labels is None or len(validation.counts) < 2:
        counts = train.counts.double()
        if int((counts > 0).sum()) < 2 and sets.classes is not None and sets.classes > 1:
            return torch.full((sets.classes,), 1 / sets.classes, dtype=torch.float64)
    else:
        counts = torch.maximum(_padded(train.counts, validation.counts), validation.counts.double())
    return counts / counts.sum() if float(counts.sum()) > 0 else None


def _padded(counts: Tensor, other: Tensor) -> Tensor:
    room = max(0, len(other) - len(counts))
    return torch.nn.functional.pad(counts.double(), (0, room))[: len(other)]


def _sorted(labels: Tensor, batches: tuple[int, ...], shares: Tensor | None) -> Finding | None:
    count = len(labels)
    if shares is None or count < FEWEST:
        return None
    alike = float((labels[1:] == labels[:-1]).double().mean())
    by_chance = float((shares**2).sum())
    if alike < SORTED or by_chance > MIXED:
        return None
    parts = torch.split(labels, list(batches))
    distinct = sum(len(set(part.tolist())) for part in parts) / len(parts)
    size = count / len(parts)
    expected = float((1 - (1 - shares) ** size).sum())
    return CLASS_SORTED.found(
        Text(
            f"A batch holds {distinct:.1f} classes on average, where a shuffled one would hold {expected:.1f}: images come class by class.",
            f"1バッチに含まれるクラスは平均{distinct:.1f}個です（シャッフルされていれば{expected:.1f}個）。画像がクラスごとに並んでいます。",
        ),
        {
            "classes_in_a_batch": distinct,
            "expected_classes_in_a_batch": expected,
            "neighbours_of_one_class": alike,
            "neighbours_of_one_class_by_chance": by_chance,
        },
    )
