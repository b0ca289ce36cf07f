"""How the classes of training images are weighted, and whether validation has them all. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from math import log

from vitscope._core.text import Text
from vitscope.doctor.data.numbering import count_from_one
from vitscope.doctor.data.seen import IGNORED, Seen
from vitscope.doctor.data.sets import NO_LABELS, Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

UNEVEN = 5.0
"""The largest class beside the smallest that occurs."""
FEWEST = 50
BY_CHANCE = 1e-3
"""That a class is missing."""
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
UNUSED = Fault(
    "scores-without-images",
    "D8",
    "data-balance",
    "note",
    Text(
        "Scores that no image asks for do no harm: the loss pushes them down in the first steps. But chance is one in the classes that there are, "
        "and a class that is measured and never shown is always wrong.",
        "対応する画像のないスコアがあっても、最初の数ステップで損失に押し下げられるため害はありません。"
        "ただし、チャンスレベルは実際にあるクラス数で決まります。また、検証画像にだけ現れるクラスは必ず不正解になります。",
    ),
    Text(
        "give the head as many scores as there are classes and number these from 0, or look for the images that are missing",
        "ヘッドの出力を実際のクラス数に合わせて番号を0から振り直すか、足りない画像がないか確認してください",
    ),
)
UNMEASURED = Fault(
    "classes-without-validation-images",
    "D8",
    "data-balance",
    "warning",
    Text(
        "What is never measured may be wrong unnoticed: the accuracy is that of the other classes only, and a mean over classes leaves these out or "
        "counts them as 0.",
        "測られないクラスでは、間違っていても気付けません。正解率はほかのクラスだけの値になり、クラスごとの平均（マクロF1など）では除外されるか0として数えられます。",
    ),
    Text(
        "divide by class, so that each is in both sets (stratify), and look whether the folder of one is missing or named otherwise; nothing to do "
        "where validation is meant to have fewer classes",
        "各クラスが両方のデータに入るよう、クラスごとに分割してください（stratify）。クラスのフォルダが欠けていたり、名前が違ったりしないかも確認してください。"
        "検証するクラスを意図して絞っている場合、対応は不要です",
    ),
    "train, val = train_test_split(range(len(labels)), test_size=0.1, stratify=labels)",
)
LISTED = 8


def data_balance(sets: Sets) -> Iterator[Finding]:
    """Whether classes are about equally frequent, and all of them in both sets.

    Does: counts labels as the training loader gives them (a weighted sampler is seen).
    Finds: a largest class with five times the images of the smallest that occurs (D8); scores that no training label names (a note, a warning where
    validation labels do); classes that validation has no image of (a note where these are most, which is chosen rather).
    Must not accuse: samples too small to tell, a class that a few validation images lack by chance or that is rare there; numbers that no label
    names; labels of -1 and 1. Never an error.
    """
    train = sets.train
    if train.numbers is None:
        raise Skipped(NO_LABELS)
    counts = train.frequencies
    told = int((train.numbers != IGNORED).sum())
    if told < max(FEWEST, 5 * len(counts)) or not counts:
        raise Skipped(
            Text(
                f"{told} label{'' if told == 1 else 's'} cannot tell of {len(counts)} class{'' if len(counts) == 1 else 'es'}",
                f"{len(counts)}クラスに対してラベルが{told}個しかなく、判断できません",
            )
        )
    yield from _unused(sets)
    if sets.validation is not None and sets.validation.numbers is not None:
        yield from _unmeasured(train, sets.validation)
    largest, smallest = max(counts, key=lambda c: counts[c]), min(counts, key=lambda c: counts[c])
    chance = (
        0.0 if train.is_whole else 2 * counts[smallest] ** 0.5
    )  # that a count is small by luck, where not all was read
    if counts[largest] / (counts[smallest] + chance) >= UNEVEN:
        yield _uneven(train, largest, smallest, told)


def _uneven(train: Seen, largest: int, smallest: int, told: int) -> Finding:
    counts = train.frequencies
    share = counts[largest] / told
    name = 2 * largest - 1 if train.is_signed else largest
    of_all = "" if train.is_whole else f" (of {told:,} images that were looked at)"
    of_all_ja = "" if train.is_whole else f"（調べた{told:,}枚中）"
    return IMBALANCED.found(
        Text(
            f"The largest class has {counts[largest]:,} images, the smallest {counts[smallest]:,}{of_all}: always answering class {name} is right "
            f"for {share:.0%}.",
            f"最も大きなクラスは{counts[largest]:,}枚、最も小さなクラスは{counts[smallest]:,}枚です{of_all_ja}。常にクラス{name}と答えるだけで{share:.0%}が正解になります。",
        ),
        {
            "largest": counts[largest],
            "smallest": counts[smallest],
            "largest_class": name,
            "smallest_class": 2 * smallest - 1 if train.is_signed else smallest,
            "share_of_largest": share,
        },
    )


def _only_one(train: Seen) -> Finding:
    ((name, count),) = train.frequencies.items()
    return UNUSED.found(
        Text(
            f"All {count:,} training labels are {name}: there is nothing to tell apart.",
            f"学習ラベル{count:,}個がすべて{name}で、見分けるべきクラスがありません。",
        ),
        {"classes": 1},
        severity="warning",
    )


def _unused(sets: Sets) -> Iterator[Finding]:
    """Scores that no training label names; of what was read in part nothing can be said."""
    counts = sets.train.frequencies
    if len(counts) == 1 and sets.train.is_whole:
        yield _only_one(sets.train)
        return
    validation = sets.validation
    measured = {} if validation is None or validation.numbers is None else validation.frequencies
    room = sets.classes or sets.train.width or max([*counts, *measured]) + 1
    unused = room - len(counts)
    if not sets.train.is_whole or room < 2 or unused <= 0 or max(counts) >= room or count_from_one(sets):
        return
    only = sorted(each for each in measured if each not in counts and each < room)
    names = ", ".join(map(str, sorted(counts)[:8])) + f" … ({len(counts)})" * (len(counts) > 8)
    told = sets.classes or sets.train.width
    en = f"The model gives {room} scores" if told else f"Labels up to {room - 1} need {room} scores"
    ja = f"モデルのスコアは{room}個です" if told else f"ラベルが{room - 1}まであるため、スコアは{room}個必要です"
    also = Text("", "")
    if only:
        of = ", ".join(map(str, only[:8])) + f" … ({len(only)})" * (len(only) > 8)
        also = Text(f" Validation images have others: {of}.", f"検証画像には、学習画像にないクラス（{of}）もあります。")
    yield UNUSED.found(
        Text(
            f"{en}, and training labels name {len(counts)} class{'es' * (len(counts) != 1)}: {names}.{also.en}",
            f"{ja}が、学習ラベルに現れるのは{len(counts)}クラスだけです（{names}）。{also.ja}",
        ),
        {"scores": room, "classes": len(counts), "unused": unused, "in_validation_only": only[:20]},
        severity="warning" if only else "note",
    )


def _unmeasured(train: Seen, validation: Seen) -> Iterator[Finding]:
    """Classes of training images that validation has none of, where about as large a share as other classes have there would be some."""
    counts, measured = train.frequencies, validation.frequencies
    shares = sorted(measured[each] / counts[each] for each in counts if each in measured)
    missing = [each for each in sorted(counts) if each not in measured]
    if not (validation.is_whole and shares and missing):
        return
    # a sampler that draws rare classes oftener leaves these a small share of validation: the smallest shares are what can be relied on
    expected = max(counts[each] for each in missing) * shares[len(shares) // 10]
    if expected < log(len(counts) / BY_CHANCE):
        return
    names = ", ".join(map(train.named, missing[:LISTED])) + f" … ({len(missing)})" * (len(missing) > LISTED)
    total = sum(measured.values())
    yield UNMEASURED.found(
        Text(
            f"Of the {len(counts)} classes in training, {len(missing)} {'have' if len(missing) > 1 else 'has'} no image among the {total:,} "
            f"validation images: {names}.",
            f"学習画像の{len(counts)}クラスのうち、検証画像{total:,}枚に1枚もないクラスがあります：{names}。",
        ),
        {
            "without_validation_images": [train.named(each) for each in missing],
            "classes": len(counts),
            "validation_images": total,
            "expected": expected,
        },
        severity="note" if len(missing) > len(counts) / 2 else "warning",
    )
