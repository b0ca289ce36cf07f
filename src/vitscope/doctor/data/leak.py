"""Whether validation images are training images. In go two sets, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from vitscope._core.text import Text
from vitscope.doctor.data.origin import names_in_common, told
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
        "let each image, with all its copies, be in one of both sets: of folders, remove the copies from one, or divide anew by what the files hold; "
        "of one data set, train on the Subset that random_split gives, not on its .dataset, and take duplicates out before splitting",
        "同じ画像（コピーを含む）は、学習と検証のどちらか一方だけに入れてください。フォルダなら、一方からコピーを取り除くか、ファイルの内容を基準に分割し直してください。"
        "1つのデータを分割するなら、重複画像を取り除いてから分割し、random_splitが返すSubsetで学習してください（その.datasetは使いません）",
    ),
    "train, val = random_split(data, [45_000, 5_000])\ntrain_loader = DataLoader(train, …)   # not train.dataset",
    explains=("data-augmentation",),
)
_COPIES = """from hashlib import sha256
from pathlib import Path
known = {sha256(file.read_bytes()).digest() for file in Path("train").rglob("*.*")}
print([str(file) for file in Path("test").rglob("*.*") if sha256(file.read_bytes()).digest() in known])"""
TOLD = 3
"""Pairs of equal images that are named."""


class _Overlap(NamedTuple):
    """Validation images that are training images: how many of how many, and of how many that would be in the whole training set."""

    shared: int
    looked_at: int
    share: float
    of_train: int
    pairs: list[str]
    """A few of them by name: the validation image and, where it goes by another name there, the training image."""
    are_copies: bool
    """Whether equal pixels and no common origin told them."""


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
    names = names_in_common(train.origin, train.base, validation.origin, validation.base)
    if not names:
        return None  # other names say nothing: the same pixels may lie in two places
    both, of = len(names), len(validation.origin)
    return _Overlap(both, of, both / of, len(train.origin), told(names, validation.base, TOLD), are_copies=False)


def _by_digest(train: Seen, validation: Seen) -> _Overlap:
    if train.again is not None and train.again.share < 0.5 and not train.is_table:
        raise Skipped(
            Text(
                "training images are augmented, so they cannot be recognised among the validation images",
                "学習画像が拡張されているため、検証画像と照合できません",
            )
        )
    known = {each: place for place, each in enumerate(train.digests) if each is not None}
    seen = [(place, each) for place, each in enumerate(validation.digests) if each is not None]
    found = [(place, known[each]) for place, each in seen if each in known]
    count = len(found)
    if not seen:
        raise Skipped(Text("all validation images are blank", "検証画像がすべて無地です"))
    share = count / len(seen)
    part = len(train) / train.total if train.total else 1.0
    if part < 1 and count >= 10:
        share = min(1.0, share / part)
    pairs = [_pair(train.called, validation.called, *each) for each in found[:TOLD]]
    return _Overlap(count, len(seen), share, len(train), [each for each in pairs if each], are_copies=True)


def _pair(train: tuple[str, ...], validation: tuple[str, ...], place: int, of_train: int) -> str:
    """Two equal images by their names, as far as these are known."""
    one, other = (names[at] if names else "" for names, at in ((validation, place), (train, of_train)))
    return f"{one} = {other}" if one and other else one


def _found(train: Seen, overlap: _Overlap, severity: Severity) -> Finding:
    count, looked_at, share, of_train, pairs, are_copies = overlap
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
    if pairs:
        are = ("validation = training", "検証 = 学習") if " = " in pairs[0] else ("of validation", "検証")
        summary = Text(
            f"{summary.en} Some of them ({are[0]}): {'; '.join(pairs)}.",
            f"{summary.ja}例（{are[1]}）：{'、'.join(pairs)}。",
        )
    if severity == "note":
        summary = Text(
            summary.en + " So few are usually duplicates that a data set is born with.",
            summary.ja + "この程度であれば、データセットにもともと含まれる重複と考えられます。",
        )
    fault = LEAK
    if are_copies and "/" in "".join(pairs):
        fault = replace(LEAK, code=_COPIES)
    return fault.found(
        summary,
        {
            "shared": count,
            "validation_images": looked_at,
            "training_images": of_train,
            "share": share,
            "equal_images": pairs,
        },
        severity=severity,
    )
