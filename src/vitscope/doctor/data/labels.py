"""Whether labels are possible and belong to their images. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from vitscope._core.text import Text
from vitscope.doctor.data.blank import are_alike
from vitscope.doctor.data.numbering import numbering
from vitscope.doctor.data.probe import Probed, probe
from vitscope.doctor.data.renumbered import numbered_by_name, numbered_otherwise
from vitscope.doctor.data.seen import Seen, of_set
from vitscope.doctor.data.sets import NO_LABELS, Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

CHECK = "data-labels"
NO_SIGNAL, SIGNAL = 3.0, 6.0
"""Standard deviations above shuffled labels: under the first probes find nothing, over the second surely something."""
DIMMED = 4.0
"""How much less of a signal may be left in heavily augmented images (CIFAR-10: 32 deviations come down to 7)."""
FEWEST, MANY = 200, 1_000
"""Images, under which nothing is said, and of augmented ones, from which on a signal should show."""
UNLABELLED = Text("the {name} images come without one class each", "{name}画像に1枚1つのラベルなし")
FEW_LABELLED = Text(
    f"there are fewer than {FEWEST} labelled {{name}} images", f"ラベル付きの{{name}}画像が{FEWEST}枚未満"
)
FEW_FINITE = Text(
    f"fewer than {FEWEST} {{name}} images are without NaN or infinity",
    f"NaNや無限大を含まない{{name}}画像が{FEWEST}枚未満",
)
FEW_CLASSES = Text("fewer than two classes have ten {name} images each", "{name}画像が10枚以上あるクラスが2つ未満")
THE_SAME = Text("the {name} images are all the same", "{name}画像がすべて同一")
FEW_AUGMENTED = Text(
    f"simple probes find no relation between {{name}} images and their labels, and fewer than {MANY:,} augmented images are too few to say that "
    "there is none",
    f"簡単な判別法では{{name}}画像とラベルの間に関係が見つかりませんが、拡張された画像が{MANY:,}枚未満では、関係がないとは判断できません",
)
FEW_BESIDE_OTHERS = Text(
    "simple probes find no relation between {name} images and their labels, and would hardly find one in so few images if it were as weak as in "
    "the other set",
    "簡単な判別法では{name}画像とラベルの間に関係が見つかりませんが、もう一方のデータと同程度の弱い関係であればこの枚数では見つけにくいため、"
    "関係がないとは判断できません",
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
NOT_READ = Fault(
    "labels-not-read-by-probes",
    "D7",
    CHECK,
    "warning",
    Text(
        "It may mean nothing: what is mirrored, counted or compared is beyond such probes, and a ViT can learn it. But labels of other images look "
        "just so, and then there is nothing to learn but each image by heart.",
        "問題とは限りません。左右反転、個数、異同などはこうした簡単な判別法では読み取れませんが、ViTなら学習できます。ただし、ラベルが別の画像のものになっている場合も"
        "同じ結果になり、そのときは画像を1枚ずつ暗記する以外に学べることがありません。",
    ),
    Text(
        "look at ten images with their labels: where they fit, there is nothing to do",
        "画像10枚をラベルと並べて見てください。合っていれば対応は不要です",
    ),
    "images, labels = next(iter(train_loader))[:2]\nfor image, label in zip(images[:10], labels[:10]):\n    print(label)\n"
    "    plt.imshow(image.permute(1, 2, 0))\n    plt.show()",
)


def data_labels(sets: Sets) -> Iterator[Finding]:
    """Whether labels are numbers of classes that exist, and go with what the images show.

    Does: takes the smallest and largest label; holds the tables against each other by which both sets number their classes; probes up to 1,500
    training images, and validation images, with the nearest neighbours, a kernel ridge regression and a ridge regression on random filters, and holds
    that against the same on 60 times shuffled labels; asks two probes of training images for the classes of validation images.
    Finds: labels outside the model's classes (D7), labels that tell no more of the images than shuffled ones do (D7): an error where the other set
    shows that the probes can read such labels in so many images, else a warning; validation classes that are other classes in training (D7), where
    they are then read as well as from each other: an error, of two classes a warning; one name with two numbers: an error.
    Must not accuse: imbalanced sets (each class weighs the same), mixed and heavily augmented images (what is left of a signal suffices), sets too
    small for a signal as strong as the other set's, -100 (ignored by the loss), one score for two classes, validation images of another domain.
    """
    if all(seen.labels is None for seen in sets.all):
        raise Skipped(NO_LABELS)
    yield from numbering(sets)
    by_name = numbered_by_name(sets)
    if by_name is not None:
        yield by_name
    probes = [_probed(seen) for seen in sets.all]
    read = [each for each in probes if isinstance(each, Probed)]
    if not read:
        raise Skipped(_too_little([each for each in probes if isinstance(each, Text)]))
    best = max(read, key=lambda each: each.deviations)
    unread, undecided = list[tuple[Seen, Probed]](), list[Text]()
    for seen, own in zip(sets.all, probes, strict=True):
        if isinstance(own, Text):
            undecided += [_too_little([own])] if seen is sets.train and seen.labels is not None else []
            continue
        if own.deviations >= NO_SIGNAL:
            continue
        expected = best.deviations * min(own.images / best.images, 1.0)
        if own.images < MANY and _is_augmented(seen):  # many are needed for a weak signal to show
            undecided.append(of_set(FEW_AUGMENTED, seen.name))
        elif best.deviations < NO_SIGNAL or NO_SIGNAL <= expected < _sure(seen):
            unread.append((seen, own))
        elif expected >= _sure(seen):
            yield _decoupled(seen, own)
        else:
            undecided.append(of_set(FEW_BESIDE_OTHERS, seen.name))
    if unread:
        yield _not_read(unread)
    if by_name is None:
        yield from numbered_otherwise(sets)
    if undecided:
        raise Skipped(undecided[0])


def _sure(seen: Seen) -> float:
    """The signal of the other set, from which on one should show here."""
    return SIGNAL * (DIMMED if _is_augmented(seen) else 1.0)


def _probed(seen: Seen) -> Probed | Text:
    """What probes find in images without NaN or infinity; or why there is too little to probe."""
    labels = seen.sample_labels
    if labels is None:
        return of_set(UNLABELLED, seen.name)
    finite = seen.images.isfinite().flatten(1).all(1)
    if int(finite.sum()) < FEWEST:
        return of_set(FEW_LABELLED if len(labels) < FEWEST else FEW_FINITE, seen.name)
    if are_alike(seen):
        return of_set(THE_SAME, seen.name)
    return probe(seen.images[finite], labels[finite]) or of_set(FEW_CLASSES, seen.name)


def _too_little(reasons: list[Text]) -> Text:
    return Text(
        f"{', and '.join(each.en for each in reasons)}: too little to probe",
        f"{'、'.join(each.ja for each in reasons)}のため、調べられません",
    )


def _is_augmented(seen: Seen) -> bool:
    return seen.again is not None and seen.again.share < 0.8


def _decoupled(seen: Seen, own: Probed) -> Finding:
    en, ja = _numbers(seen, own)
    return DECOUPLED.found(
        Text(
            f"The {seen.name.en} labels tell no more of the images than shuffled ones, though those of the other set do: {en}.",
            f"{seen.name.ja}ラベルと画像の間には、シャッフルしたラベルと同程度の対応しか見られません（もう一方のデータには対応があります）。{ja}。",
        ),
        _evidence(seen, own),
    )


def _not_read(unread: list[tuple[Seen, Probed]]) -> Finding:
    seen, own = max(unread, key=lambda each: each[1].images)
    names = " and ".join(each.name.en for each, _ in unread), "・".join(each.name.ja for each, _ in unread)
    en, ja = _numbers(seen, own)
    return replace(NOT_READ, code=seen.showing).found(
        Text(
            f"Simple probes find no relation between {names[0]} images and their labels: {en}.",
            f"簡単な判別法では、{names[1]}画像とラベルの間に関係が見つかりません。{ja}。",
        ),
        {**_evidence(seen, own), "sets": [each.name.en for each, _ in unread]},
    )


def _numbers(seen: Seen, own: Probed) -> tuple[str, str]:
    accuracy, shuffled = f"{own.accuracy:.1%}", f"{own.shuffled_accuracy:.1%}"
    return (
        f"the nearest neighbours guess {accuracy} of {own.images:,} {seen.name.en} images ({shuffled} with shuffled labels), and no other probe "
        "does better than chance",
        f"{seen.name.ja}画像{own.images:,}枚に対する最近傍法の正解率は{accuracy}（シャッフルしたラベルでは{shuffled}）で、ほかの判別法でもチャンスレベルを上回りませんでした",
    )


def _evidence(seen: Seen, own: Probed) -> dict[str, Any]:
    return {
        "set": seen.name.en,
        "images": own.images,
        "classes_probed": own.classes,
        "neighbours_accuracy": own.accuracy,
        "neighbours_accuracy_shuffled": own.shuffled_accuracy,
        "best_probe": own.best,
        "deviations_above_shuffled": own.deviations,
    }
