"""Whether validation images are training images. In go two sets, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from vitscope._core.text import Text
from vitscope.doctor.data.origin import in_common
from vitscope.doctor.data.seen import Seen
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.finding import Fault, Finding, Severity, Skipped

LARGE, NOTICEABLE = 0.2, 0.01
"""Shares of the validation images: from the first on the validation measures memory, from the second on it is biased."""
LEAK = Fault(
    "validation-images-in-training",
    "D3",
    "data-leak",
    "error",
    Text(
        "What was learned by heart is measured again: validation accuracy follows training accuracy, overfitting cannot be seen, and the number says "
        "nothing of new images.",
        "暗記した画像をもう一度測ることになります。検証画像の正解率は学習画像の正解率に追随し、過学習が見えなくなり、新しい画像での性能は分かりません。",
    ),
    Text(
        "train on the Subset that random_split gives, not on its .dataset; split by indices that do not overlap, and take duplicates out "
        "before splitting",
        "random_splitが返すSubsetで学習し、その.datasetは使わないでください。重ならないインデックスで分割し、重複画像は分割の前に取り除いてください",
    ),
    "train, val = random_split(data, [45_000, 5_000])\ntrain_loader = DataLoader(train, …)   # not train.dataset",
    explains=("data-augmentation",),
)


class _Overlap(NamedTuple):
    """Validation images that are training images: how many of how many, and of how many that would be in the whole training set."""

    shared: int
    looked_at: int
    share: float
    of_train: int


def data_leak(sets: Sets) -> Iterator[Finding]:
    """Whether validation images are among the training images.

    Does: compares where the images come from (file, stored pixels, number in one data set or in two of the same images), where both tell;
    else a digest of each image that no normalisation changes. Blank images do not count. Of a training set
    that was read in part, it reckons with the part.
    Finds: validation that is training, or shares a fifth of its images with it (D3, an error), or a hundredth (a warning).
    Must not accuse: a few images that are in the set twice by nature (a note with their number). Augmented training images cannot be
    recognised: then,
    without an origin to compare, it is skipped.
    """
    train, validation = sets.train, sets.need_validation()
    overlap = _by_origin(train, validation) or _by_digest(train, validation)
    if overlap.shared == 0:
        return
    severity: Severity = "note"
    if overlap.share >= NOTICEABLE and overlap.shared >= 3:
        severity = "error" if overlap.share >= LARGE else "warning"
    yield _found(train, overlap, severity)


def _by_origin(train: Seen, validation: Seen) -> _Overlap | None:
    if not train.origin or not validation.origin:
        return None
    both = in_common(train.origin, train.base, validation.origin, validation.base)
    if not both:
        return None  # other names say nothing: the same pixels may lie in two places
    return _Overlap(both, len(validation.origin), both / len(validation.origin), len(train.origin))


def _by_digest(train: Seen, validation: Seen) -> _Overlap:
    if train.again is not None and train.again.share < 0.5 and not train.is_table:
        raise Skipped(
            Text(
                "training images are augmented, so they cannot be recognised among the validation images",
                "学習画像が拡張されているため、検証画像と照合できません",
            )
        )
    known = {each for each in train.digests if each is not None}
    told = [each for each in validation.digests if each is not None]
    count = sum(each in known for each in told)
    if not told:
        raise Skipped(Text("all validation images are blank", "検証画像がすべて無地です"))
    share = count / len(told)
    part = len(train) / train.total if train.total else 1.0
    if part < 1 and count >= 10:
        share = min(1.0, share / part)
    return _Overlap(count, len(told), share, len(train))


def _found(train: Seen, overlap: _Overlap, severity: Severity) -> Finding:
    count, looked_at, share, of_train = overlap
    part = Text("", "")
    if train.total is not None and of_train < train.total:
        part = Text(
            f" (of {train.total:,}; about {share:.0%} in all)",
            f"（全{train.total:,}枚中。全体ではおよそ{share:.0%}と推定）",
        )
    summary = Text(
        f"{count:,} of {looked_at:,} validation images are among the {of_train:,} training images that were looked at{part.en}.",
        f"検証画像{looked_at:,}枚のうち{count:,}枚が、調べた学習画像{of_train:,}枚{part.ja}の中にもあります。",
    )
    if severity == "note":
        summary = Text(
            summary.en + " So few are usually duplicates that a data set is born with.",
            summary.ja + "この程度であれば、データセットにもともと含まれる重複と考えられます。",
        )
    return LEAK.found(
        summary,
        {"shared": count, "validation_images": looked_at, "training_images": of_train, "share": share},
        severity=severity,
    )
