"""Whether labels are numbers of classes that the model has. In go two sets, out come findings; whether they belong to images is asked in `labels`."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.seen import IGNORED, Seen, tally
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.finding import Fault, Finding, Severity

CHECK = "data-labels"
OF_EACH = 20
"""Labels for each class, from which on a number that never came is one that there is not."""
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
    explains=(  # a class that no label names has no images
        "classes-imbalanced",
        "scores-without-images",
        "classes-without-validation-images",
    ),
)
NEGATIVE = Fault(
    "labels-below-zero",
    "D7",
    CHECK,
    "warning",
    Text(
        "Cross-entropy leaves out the label -100 and no other: at -1 it stops with an error, and binary cross-entropy, which takes any number, is "
        "driven below zero without end.",
        "クロスエントロピーが除外するラベルは既定では-100だけです。-1があるとエラーで止まります。二値クロスエントロピーはどんな値も受け取りますが、"
        "損失が際限なく負へ下がり続けます。",
    ),
    Text(
        "where -1 marks images without a class, tell the loss with ignore_index=-1 and leave them out of the accuracy; where -1 and 1 are two "
        "classes, use a margin loss, or (labels + 1) / 2 with binary cross-entropy",
        "-1がクラスのない画像を表すなら、損失にignore_index=-1を指定し、正解率の計算からも除いてください。-1と1が2つのクラスを表すなら、マージン損失を使うか、"
        "(labels + 1) / 2に直して二値クロスエントロピーを使ってください",
    ),
    "loss = nn.CrossEntropyLoss(ignore_index=-1)",
)


def numbering(sets: Sets) -> Iterator[Finding]:
    """Labels that no score of the model belongs to, or that may not be meant as they are."""
    outside, below = list[Seen](), list[Seen]()
    signed = _are_signed(sets) and (sets.classes or 1) == 1
    for seen in sets.all:
        if (labels := _told(seen)) is None:
            continue
        low, high = int(labels.min()), int(labels.max())
        if low < -1 or (low == -1 and not signed and _are_shifted(labels, sets.classes)) or high >= _room(sets):
            outside.append(seen)
        elif low == -1:
            below.append(seen)
    if outside:
        yield _out_of_range(outside, sets.classes)
    elif below and signed:
        yield _signed(below, "note" if sets.classes == 1 else "warning")
    elif below:
        yield _unlabelled(below)
    elif count_from_one(sets):
        yield _from_one(sets.train)


def count_from_one(sets: Sets) -> bool:
    """Whether labels run from 1 to some number without a gap, and nobody said that the model has a score for 0."""
    labels = _told(sets.train)
    if sets.classes is not None or labels is None or int(labels.min()) != 1:
        return False
    distinct, high = len(tally(labels)), int(labels.max())
    others = [other for seen in sets.all[1:] if (other := _told(seen)) is not None]
    enough = sets.train.is_whole or len(labels) >= OF_EACH * high
    return distinct == high > 1 and enough and all(int(other.min()) >= 1 for other in others)


def _told(seen: Seen) -> Tensor | None:
    """Labels that are meant as such."""
    if seen.labels is None:
        return None
    labels = seen.labels[seen.labels != IGNORED]
    return labels if len(labels) else None


def _room(sets: Sets) -> float:
    """One score tells two classes apart."""
    return float("inf") if sets.classes is None else float(max(sets.classes, 2))


def _are_signed(sets: Sets) -> bool:
    told = [labels for seen in sets.all if (labels := _told(seen)) is not None]
    return {each for labels in told for each in tally(labels)} == {-1, 1}


def _are_shifted(labels: Tensor, classes: int | None) -> bool:
    """Whether -1 is a class as all others are: with it there are as many as the model has scores, and the last score has none."""
    numbers = set(tally(labels))
    two = classes == 2 and numbers == {-1, 1}
    return two or (classes is not None and len(numbers) == classes and max(numbers) == classes - 2)


def _out_of_range(found: list[Seen], classes: int | None) -> Finding:
    seen = found[0]
    labels = _told(seen)
    assert labels is not None
    low, high = int(labels.min()), int(labels.max())
    name = seen.name
    room = "" if classes is None else f" and the model gives {classes} score{'s' * (classes != 1)}"
    room_ja = "" if classes is None else f"、モデルのスコアは{classes}個"
    rule = Text(
        "a class number must be 0 or more and less than the number of scores",
        "クラス番号は0以上、スコアの個数未満でなければなりません",
    )
    if classes == 1:
        rule = Text("one score tells 0 from 1", "スコアが1個のモデルが区別できるのは0と1だけです")
    return OUT_OF_RANGE.found(
        Text(
            f"The {name.en} labels run from {low} to {high}{room}: {rule.en}.",
            f"{name.ja}ラベルは{low}から{high}まで{room_ja}です。{rule.ja}。",
        ),
        {"lowest": low, "highest": high, "classes": classes, "sets": [each.name.en for each in found]},
    )


def _from_one(seen: Seen) -> Finding:
    assert seen.labels is not None
    high = int(seen.labels.max())
    return OUT_OF_RANGE.found(
        Text(
            f"The {seen.name.en} labels run from 1 to {high} and none is 0: they seem to count from 1, where a model of {high} scores wants 0 to "
            f"{high - 1}.",
            f"{seen.name.ja}ラベルは1から{high}までで、0が1つもありません。1から数えているようですが、スコアが{high}個のモデルには"
            f"0から{high - 1}までの番号が必要です。",
        ),
        {"lowest": 1, "highest": high, "classes": None, "sets": [seen.name.en]},
        severity="warning",
    )


def _signed(found: list[Seen], severity: Severity) -> Finding:
    return NEGATIVE.found(
        Text(
            "The labels are -1 and 1: right for a margin loss, such as the hinge loss, and wrong for cross-entropy of either kind.",
            "ラベルは-1と1です。ヒンジ損失などのマージン損失には正しい値ですが、クロスエントロピーや二値クロスエントロピーには使えません。",
        ),
        {"sets": [seen.name.en for seen in found]},
        severity=severity,
    )


def _unlabelled(found: list[Seen]) -> Finding:
    seen = found[0]
    assert seen.labels is not None
    count, of = int((seen.labels == -1).sum()), len(seen.labels)
    verb = "is" if count == 1 else "are"
    return NEGATIVE.found(
        Text(
            f"{count:,} of {of:,} {seen.name.en} labels {verb} -1, which is right only for a loss that is told so (ignore_index=-1).",
            f"{seen.name.ja}ラベル{of:,}個のうち{count:,}個が-1です。損失にignore_index=-1を指定している場合にだけ正しく動きます。",
        ),
        {"labels": of, "below_zero": count, "sets": [each.name.en for each in found]},
    )
