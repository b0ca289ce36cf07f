"""In which order a loader gives training images. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median_high

import numpy as np
import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.seen import tally
from vitscope.doctor.data.sets import NO_LABELS, Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

CHECK = "data-order"
FEW = 0.75
"""Of the classes that a shuffled batch would hold: with fewer it is looked at more closely."""
TOGETHER, DRIFTING = 0.6, 0.3
"""What makes an order a sorted one: the share of a class that lies in one batch, of what could; the likeness of neighbouring batches."""
CLEAR = 1.5
"""Classes that a shuffled batch must hold for fewer to mean anything."""
FEWEST, ROW = 32, 16
"""Images, under which nothing is said, and that are looked at together where batches are smaller."""
_ADVICE = Text(
    "shuffle single images, not batches of them, and over the whole set: a sorted stream needs its files shuffled, or a buffer as large "
    "as it is",
    "バッチ単位ではなく画像単位で、データ全体をシャッフルしてください。クラス順に並んだストリームでは、ファイルの順序をシャッフルするか、全体が入る大きさのバッファが必要です",
)
_CODE = "DataLoader(train, batch_size=128, shuffle=True)"
CLASS_SORTED = Fault(
    "training-sorted-by-class",
    "D6",
    CHECK,
    "error",
    Text(
        "Each batch shows one class or a few, so each step teaches the model to answer these whatever it sees, and to forget those before.",
        "どのバッチにも1つまたは少数のクラスしか含まれません。更新のたびに、何を見てもそのクラスと答えるように学び、前のクラスを忘れてしまいます。",
    ),
    _ADVICE,
    _CODE,
    explains=("data-balance", "training-not-shuffled"),
)
BY_CLASS = Fault(
    "batches-drawn-by-class",
    "D6",
    CHECK,
    "note",
    Text(
        "Metric learning wants such batches (P classes, K images of each), and repeated augmentation gives them. For a plain cross-entropy each step "
        "pulls towards the few classes that it sees.",
        "距離学習ではこうしたバッチ（Pクラス×K枚）が必要で、repeated augmentationでも同じ形になります。"
        "通常のクロスエントロピーでは、更新のたびに、そのバッチにある少数のクラスへ偏ります。",
    ),
    Text(
        "nothing to do where it is meant; else shuffle the training loader",
        "意図したものなら対応は不要です。そうでなければ、学習用ローダーでシャッフルを有効にしてください",
    ),
    _CODE,
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
    Text("shuffle the training loader", "学習用ローダーでシャッフルを有効にしてください"),
    _CODE,
)


_NOT_KNOWN = Text(
    "in which order a loop of your own draws the images is not known; give its loaders to vitscope.doctor.data.examine_data",
    "独自の学習ループで画像がどの順に出てくるかは分かりません。そのローダーをvitscope.doctor.data.examine_dataに渡せば調べられます",
)


def data_order(sets: Sets) -> Iterator[Finding]:
    """Whether training batches are mixed.

    Does: counts the classes of a batch beside those of a shuffled one; where they are few, looks whether classes lie together in few batches, or
    drift from one batch to the next; compares the order of labels of two epochs.
    Finds: images sorted by class (D6, an error), though batches, or a buffer that is too small, be shuffled; the same order in two epochs (a
    warning).
    Must not accuse: data sets (their loader may shuffle them), one batch, sets where one class is nearly all, repeated augmentation, batches of P
    classes with K images each or about so many, drawn anew (a note), streams and lists, whose order is no loader's doing, loaders that are told
    the epoch's number.
    """
    train = sets.train
    if train.is_table:
        raise Skipped(
            _NOT_KNOWN
            if sets.augment is None
            else Text(
                "vitscope's own loader shuffles them anew in each epoch",
                "vitscopeのローダーがエポックごとにシャッフルします",
            ),
            is_left_out=True,
        )
    if len(train.batches) < 2:
        raise Skipped(Text("there are no two batches to look at", "調べられるバッチが2つ以上ありません"))
    if train.labels is None:
        raise Skipped(NO_LABELS)
    yield from _by_class(sets, train.labels)
    if train.again is not None and train.again.same_order:
        count = len(train)
        yield NOT_SHUFFLED.found(
            Text(
                "Two epochs begin with the same labels in the same order.",
                "2つのエポックが、同じラベルの並びで始まっています。",
            ),
            {"images_read": count},
        )


def _by_class(sets: Sets, labels: Tensor) -> Iterator[Finding]:
    """Whether batches hold fewer classes than shuffled ones would, and in which way."""
    sizes = _rows(sets.train.batches)
    if len(labels) < FEWEST or len(sizes) < 2:
        return
    places = torch.from_numpy(np.unique(labels.numpy(), return_inverse=True)[1])
    held = torch.stack(
        [torch.bincount(part, minlength=int(places.max()) + 1) for part in torch.split(places, sizes)]
    ).double()
    size = len(labels) / len(sizes)
    distinct = float((held > 0).sum(1).double().mean())
    own = _distinct_if_shuffled(held.sum(0), size)
    is_one = held.shape[1] == 1
    shuffled = sets.train.again is not None and sets.train.again.same_order is False
    if is_one and (int(labels[0]) < 0 or (shuffled and sets.train.is_whole)):
        return  # no class, or the only one that there is: no fault of the order
    expected = own
    if is_one or not sets.train.is_whole:  # what was read of a sorted set may be a part of its classes
        expected = max(own, _distinct_if_shuffled(_other_counts(sets), size))
    bar = expected if is_one else own
    if bar < CLEAR or distinct > FEW * bar:
        return
    together, drift = _together(held), _drift(held)
    numbers = {
        "images_in_a_row": size,
        "classes_in_a_batch": distinct,
        "expected_classes_in_a_batch": expected,
        "share_of_a_class_together": together,
        "likeness_of_neighbours": drift,
    }
    each = held[held > 0].reshape(-1)
    is_drawn = _is_even(held) or _sizes_vary(sets.train.batches) or (sets.train.again and sets.train.again.anew)
    if is_drawn and drift < _telling(held):
        yield _drawn(distinct, expected, float(each.mean()), numbers)
    elif together > TOGETHER or drift >= _telling(held):
        yield _sorted(size, distinct, expected, numbers)


def _rows(batches: tuple[int, ...]) -> list[int]:
    """Sizes of batches, small ones taken together."""
    rows, begun = list[int](), 0
    for size in batches:
        begun += size
        if begun >= ROW:
            rows, begun = [*rows, begun], 0
    if begun and rows:
        rows[-1] += begun
    return rows


def _distinct_if_shuffled(counts: Tensor, size: float) -> float:
    """Classes in so many images that are drawn at random."""
    return float((1 - (1 - counts / counts.sum()) ** size).sum()) if len(counts) else 0.0


def _other_counts(sets: Sets) -> Tensor:
    """How large classes are, judged without the training loader."""
    if sets.validation is not None and sets.validation.labels is not None:
        return torch.tensor(list(tally(sets.validation.labels).values()), dtype=torch.float64)
    return torch.ones(sets.classes or 0, dtype=torch.float64)


def _together(held: Tensor) -> float:
    """How much of a class lies in one batch, of what could (B Y, images of each class in each batch)."""
    room = torch.minimum(held.sum(0), held.sum(1).mean())
    return float((held**2).sum() / (held.sum(0) * room).sum())


def _drift(held: Tensor) -> float:
    """Whether neighbouring batches hold the same classes, or the mean class runs up or down over the epoch; 0 where neither."""
    shares = held / held.sum(1, keepdim=True)
    apart = shares - shares.mean(0)
    own = (apart**2).sum(1).mean().clamp_min(1e-12)
    alike = float((apart[1:] * apart[:-1]).sum(1).mean() / own)
    means = shares @ torch.arange(held.shape[1], dtype=torch.float64)
    steps = torch.arange(len(means), dtype=torch.float64)
    spread = float(means.std(correction=0) * steps.std(correction=0))
    run = abs(float(((means - means.mean()) * (steps - steps.mean())).mean())) / spread if spread else 0.0
    return max(alike, run)


def _telling(held: Tensor) -> float:
    """From where on a drift is none of chance: batches that are drawn one by one have one of 0, give or take one by the root of their number."""
    return DRIFTING + 2 / float(len(held)) ** 0.5


def _is_even(held: Tensor) -> bool:
    """Whether nearly all batches hold several classes with as many images of each, two or more."""
    most = held.amax(1)
    least = torch.where(held > 0, held, torch.inf).amin(1)
    even = (most == least) & (least >= 2) & ((held > 0).sum(1) >= 2)
    return float(even.double().mean()) >= 0.8


def _sizes_vary(batches: tuple[int, ...]) -> bool:
    """Whether batches are as large as what was drawn for them, and not filled from a stream."""
    return len(batches) >= 4 and sum(size != median_high(batches) for size in batches) > 0.25 * len(batches)


def _sorted(size: float, distinct: float, expected: float, numbers: dict[str, float]) -> Finding:
    return CLASS_SORTED.found(
        Text(
            f"{size:.0f} images in a row hold {distinct:.1f} classes on average, where shuffled ones would hold {expected:.1f}: images "
            "come class by class.",
            f"連続する{size:.0f}枚に含まれるクラスは平均{distinct:.1f}個です（シャッフルされていれば{expected:.1f}個）。画像がほぼクラスごとに並んでいます。",
        ),
        numbers,
    )


def _drawn(distinct: float, expected: float, each: float, numbers: dict[str, float]) -> Finding:
    return BY_CLASS.found(
        Text(
            f"A batch holds {distinct:.1f} classes on average with about {each:.0f} images of each, where a shuffled one would hold "
            f"{expected:.1f} classes: it is drawn by class.",
            f"1バッチに平均{distinct:.1f}クラスが約{each:.0f}枚ずつ入っています（シャッフルされていれば{expected:.1f}クラス）。クラスを選んでからバッチを作っているようです。",
        ),
        numbers,
    )
