"""How the classes of training images are weighted. In go two sets, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.data.sets import NO_LABELS, Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

UNEVEN = 5.0
"""The largest class beside the smallest."""
FEWEST = 50
IMBALANCED = Fault(
    "classes-imbalanced",
    "D8",
    "data-balance",
    "warning",
    Text(
        "Accuracy is that of the large classes: a model that never answers the small ones looks good.",
        "正解率は大きなクラスだけでほぼ決まります。小さなクラスを一度も答えないモデルでも、良く見えてしまいます。",
    ),
    Text(
        "weight the loss or the sampler by class, and report accuracy per class or macro-F1",
        "損失またはサンプラーにクラスごとの重みを付け、クラスごとの正解率またはマクロF1も報告してください",
    ),
    "weights = 1 / counts[labels]\nDataLoader(train, batch_size=128, sampler=WeightedRandomSampler(weights, len(labels)))",
)


def data_balance(sets: Sets) -> Iterator[Finding]:
    """Whether classes are about equally frequent.

    Does: counts labels as the training loader gives them (a weighted sampler is seen).
    Finds: a largest class with five times the images of the smallest, or classes without any (D8).
    Must not accuse: samples too small to tell; the count of a class that was not met is taken for one image, unless all were read. Never an error.
    """
    train = sets.train
    if train.labels is None:
        raise Skipped(NO_LABELS)
    labels = train.labels[train.labels >= 0]
    counts = train.counts.tolist()
    counts += [0] * (max(sets.classes or 0, 2) - len(counts)) if sets.classes else []
    if len(labels) < max(FEWEST, 5 * len(counts)):
        raise Skipped(
            Text(
                f"{len(labels)} labels are too few for {len(counts)} classes",
                f"{len(counts)}クラスに対してラベルが{len(labels)}個しかなく、判断できません",
            )
        )
    missing = sum(count == 0 for count in counts) if train.is_whole else 0
    largest, smallest = max(counts), min(counts)
    chance = 2 * max(smallest, 1) ** 0.5  # that a small count is by luck, where only some images were read
    if largest / max(smallest + (0 if train.is_whole else chance), 1) < UNEVEN and not missing:
        return
    share = largest / len(labels)
    of_all = "" if train.is_whole else f" (of {len(labels):,} images that were looked at)"
    of_all_ja = "" if train.is_whole else f"（調べた{len(labels):,}枚中）"
    yield IMBALANCED.found(
        Text(
            f"The largest class has {largest:,} images, the smallest {smallest:,}{of_all}: always answering class {counts.index(largest)} "
            f"is right for "
            f"{share:.0%}.",
            f"最も大きなクラスは{largest:,}枚、最も小さなクラスは{smallest:,}枚です{of_all_ja}。常にクラス{counts.index(largest)}と答えるだけで{share:.0%}が正解になります。",
        ),
        {
            "largest": largest,
            "smallest": smallest,
            "largest_class": counts.index(largest),
            "smallest_class": counts.index(smallest),
            "share_of_largest": share,
            "classes_without_images": missing,
        },
    )
