"""Whether labels are possible and belong to their images. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.data.probe import Probed, probe
from vitscope.doctor.data.seen import Seen
from vitscope.doctor.data.sets import NO_LABELS, Sets
from vitscope.doctor.finding import Fault, Finding, Severity, Skipped

CHECK = "data-labels"
IGNORED = -100
"""The label that torch's cross-entropy leaves out."""
NO_SIGNAL, SIGNAL = 3.0, 6.0
"""Standard deviations above shuffled labels: under the first probes find nothing, over the second surely something."""
FEWEST, MANY, MANY_OF_A_CLASS = 200, 1_000, 20
"""Images, under which nothing is said, and from which on finding nothing means that there is nothing."""
OUT_OF_RANGE = Fault(
    "labels-out-of-range",
    "D7",
    CHECK,
    "error",
    Text(
        "The loss has no score for such a class: training stops with an error, or on a GPU with a device-side assert.",
        "そのクラスに対応するスコアがないため、学習はエラーで止まります（GPUではdevice-side assertになります）。",
    ),
    Text(
        "number the classes from 0 to classes - 1, or give the model's head as many scores as there are classes",
        "クラス番号を0からクラス数-1までに振り直すか、モデルのヘッドの出力をクラス数に合わせてください",
    ),
    "labels = labels - labels.min()   # where they begin at 1",
    explains=("classes-imbalanced",),  # a class that no label names has no images
)
DECOUPLED = Fault(
    "labels-do-not-belong-to-images",
    "D7",
    CHECK,
    "error",
    Text(
        "There is nothing to learn but each image by heart: training accuracy may rise, validation accuracy stays at chance.",
        "画像を1枚ずつ暗記する以外に学べることがありません。学習画像の正解率は上がっても、検証画像の正解率はチャンスレベルにとどまります。",
    ),
    Text(
        "look at ten images with their labels; where images and labels are shuffled, sorted or read apart, do it with one permutation for both",
        "画像10枚をラベルと並べて確認してください。画像とラベルを別々にシャッフル・ソート・読み込みしている箇所では、同じ並べ替えを両方に適用してください",
    ),
    "order = torch.randperm(len(images))\nimages, labels = images[order], labels[order]",
    explains=("data-augmentation",),
)


def data_labels(sets: Sets) -> Iterator[Finding]:
    """Whether labels are numbers of classes that exist, and go with what the images show.

    Does: takes the smallest and largest label; probes up to 1,500 training images, and validation images, with the nearest neighbours, a kernel ridge
    regression and a ridge regression on random filters, and holds that against the same on 60 times shuffled labels.
    Finds: labels outside the model's classes (D7), labels that tell no more of the images than shuffled ones do (D7).
    Must not accuse: imbalanced sets (each class weighs the same), mixed and heavily augmented images (what is left of a signal suffices),
    -100 (ignored by
    the loss), one score for two classes. A task may be too subtle for such probes: with few images it is a warning, with a thousand and
    more an error.
    """
    if all(seen.labels is None for seen in sets.all):
        raise Skipped(NO_LABELS)
    outside = [_outside(seen, sets.classes) for seen in sets.all]
    found = [(seen, each) for seen, each in zip(sets.all, outside, strict=True) if each is not None]
    if found:
        yield _out_of_range(found, sets.classes)
    probes = [_probed(seen) for seen in sets.all]
    if all(each is None for each in probes):
        raise Skipped(
            Text(
                f"fewer than {FEWEST} labelled images, or fewer than two classes with ten images each, are too few to probe",
                f"ラベル付き画像が{FEWEST}枚未満、または10枚以上あるクラスが2つ未満のため、調べられません",
            )
        )
    silent = [(seen, each) for seen, each in zip(sets.all, probes, strict=True) if each and _is_silent(seen, each)]
    if silent:
        is_sure = any(each is not None and each.deviations > SIGNAL for each in probes)
        yield _decoupled(silent, is_sure=is_sure)


def _outside(seen: Seen, classes: int | None) -> tuple[int, int] | None:
    """The smallest and largest label, where one of them names no class."""
    if seen.labels is None:
        return None
    labels = seen.labels[seen.labels != IGNORED]
    if not len(labels):
        return None
    low, high = int(labels.min()), int(labels.max())
    room = max(classes, 2) if classes is not None else None  # one score tells two classes apart
    return (low, high) if low < 0 or (room is not None and high >= room) else None


def _out_of_range(found: list[tuple[Seen, tuple[int, int]]], classes: int | None) -> Finding:
    seen, (low, high) = found[0]
    name = seen.name
    room = "" if classes is None else f" and the model gives {classes} scores"
    room_ja = "" if classes is None else f"、モデルのスコアは{classes}個"
    return OUT_OF_RANGE.found(
        Text(
            f"The {name.en} labels run from {low} to {high}{room}: a class number must be 0 or more and less than the number of scores.",
            f"{name.ja}ラベルは{low}から{high}まで{room_ja}です。クラス番号は0以上、スコアの個数未満でなければなりません。",
        ),
        {"lowest": low, "highest": high, "classes": classes, "sets": [each.name.en for each, _ in found]},
    )


def _probed(seen: Seen) -> Probed | None:
    labels = seen.sample_labels
    if labels is None or len(labels) < FEWEST or not bool(seen.images.isfinite().all()):
        return None
    return probe(seen.images, labels)


def _is_silent(seen: Seen, probed: Probed) -> bool:
    """Whether probes find nothing where they should: of images that are augmented, many are needed for a weak signal to show."""
    return probed.deviations < NO_SIGNAL and (probed.images >= MANY or not _is_augmented(seen))


def _is_augmented(seen: Seen) -> bool:
    return seen.again is not None and seen.again.share < 0.8


def _decoupled(silent: list[tuple[Seen, Probed]], *, is_sure: bool) -> Finding:
    """An error where the other set shows that the probes can see such a thing, or where there are images enough."""
    seen, worst = max(silent, key=lambda each: each[1].images)
    is_sure = is_sure and not _is_augmented(seen)  # what the other set shows, it shows of images as they are
    many = worst.images >= MANY and worst.fewest >= MANY_OF_A_CLASS
    severity: Severity = "error" if is_sure or many else "warning"
    en, ja = " and ".join(each.name.en for each, _ in silent), "・".join(each.name.ja for each, _ in silent)
    accuracy, shuffled = f"{worst.accuracy:.1%}", f"{worst.shuffled_accuracy:.1%}"
    return DECOUPLED.found(
        Text(
            f"The {en} labels tell no more of the images than shuffled ones: the nearest neighbours guess {accuracy} of {worst.images:,} "
            f"{seen.name.en} "
            f"images ({shuffled} with shuffled labels), and no other probe does better than chance.",
            f"{ja}ラベルと画像の間には、シャッフルしたラベルと同程度の対応しか見られません。{seen.name.ja}画像{worst.images:,}枚に対する最近傍法の正解率は{accuracy}"
            f"（シャッフルしたラベルでは{shuffled}）で、ほかの方法でもチャンスレベルを上回りませんでした。",
        ),
        {
            "sets": [each.name.en for each, _ in silent],
            "images": worst.images,
            "classes_probed": worst.classes,
            "neighbours_accuracy": worst.accuracy,
            "neighbours_accuracy_shuffled": worst.shuffled_accuracy,
            "best_probe": worst.best,
            "deviations_above_shuffled": worst.deviations,
        },
        severity=severity,
    )
