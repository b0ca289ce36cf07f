"""Whether pixels have the size that a model expects, the same in both sets. In go two sets, out come findings."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.alike import unlike
from vitscope.doctor.data.blank import all_the_same, cannot_be_read
from vitscope.doctor.data.scale import scales
from vitscope.doctor.data.seen import Seen
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.finding import Fault, Finding, Skipped

CHECK = "data-normalisation"
RAW, APART, STRETCHED = 20.0, 0.1, 1.15
"""The largest size of a normalised pixel; difference of means in standard deviations, and ratio of deviations, from which on two sets differ."""
NOT_FINITE = Fault(
    "images-not-finite",
    "D5",
    CHECK,
    "error",
    Text(
        "One such pixel makes the loss and then every weight NaN.",
        "このような画素が1つあるだけで損失がNaNになり、続いてすべての重みがNaNになります。",
    ),
    Text(
        "look for a division by a standard deviation of zero, or a damaged file, where images are loaded",
        "画像の読み込み処理で、標準偏差0での割り算や壊れたファイルがないか確認してください",
    ),
)
RAW_PIXELS = Fault(
    "pixels-not-scaled",
    "D5",
    CHECK,
    "warning",
    Text(
        "The patch embedding's start values are made for numbers around 1: inputs a hundred times as large drown positions and make the first steps "
        "far too large.",
        "パッチ埋め込みの初期値は、1前後の入力を想定しています。100倍大きな入力では位置埋め込みが埋もれ、最初の更新も極端に大きくなります。",
    ),
    Text(
        "divide by 255 (ToTensor does; pixels of 16 bits are yours to divide by 65535) and subtract mean, divide by standard deviation, unless the "
        "model does it itself",
        "255で割り（ToTensorが行います。16ビットの画素は自分で65535で割ってください）、平均を引いて標準偏差で割ってください。モデル側で行っている場合は不要です",
    ),
    "transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])",
)
MISMATCH = Fault(
    "normalisation-differs",
    "D4",
    CHECK,
    "warning",
    Text(
        "Validation shows the model other numbers for the same picture: its accuracy is too low, however well it learned.",
        "検証では、同じ画像でもモデルに異なる数値が渡されます。どれほどよく学習していても、正解率が低く出ます。",
    ),
    Text(
        "use one Normalize, with the same mean and standard deviation, in both transforms",
        "両方の変換で、平均と標準偏差が同じNormalizeを使ってください",
    ),
    "normalise = transforms.Normalize(mean, std)   # one object, in both Compose",
)


_NOT_KNOWN = Text(
    "only the images as they are stored were compared; how a loop of your own normalises them is not known: give its loaders to "
    "vitscope.doctor.data.examine_data",
    "保存されている画像だけを比べました。独自の学習ループでの正規化は分かりません。そのローダーをvitscope.doctor.data.examine_dataに渡せば調べられます",
)


def data_normalisation(sets: Sets) -> Iterator[Finding]:
    """Whether pixels are normalised, and alike in training and validation.

    Does: looks at the values of some 2,000 images of each set: their range, and mean and standard deviation of the middle of the images
    (the border is where crops put black); whether their channels lie on one line, as those of grey images do; of stored images, before anything is
    done to them, the brightness of each.
    Finds: files that are no images (a warning), NaN or infinity, sets of one image only (errors), raw values of 0 to 255, pixels that hardly differ
    (divided by 255 twice) or spread wide (normalised twice) in all sets (D5), sets that are normalised differently, one set grey and the other in
    colour, stored images of another brightness than images of one set differ by (D4).
    Must not accuse: heavy augmentation, which moves the mean but leaves the range of values as it is, so D4 wants both to differ; other
    pictures in the same range; uint8 images, which somebody has to normalise later (a note); some grey images among coloured ones.
    """
    if sets.unreadable:
        yield cannot_be_read(sets.unreadable)
    broken = [seen for seen in sets.all if not bool(seen.images.isfinite().all())]
    if broken:
        yield _not_finite(broken)
        return
    same = all_the_same(sets.all)
    if same is not None:
        yield same
        return
    if sets.validation is not None:
        yield from unlike(sets.train, sets.validation)
    if sets.train.is_table:
        raise Skipped(
            _NOT_KNOWN
            if sets.augment is None
            else Text(
                "the recipe normalises both sets alike",
                "学習画像・検証画像とも、レシピの設定で同じ正規化が行われます",
            ),
            is_left_out=True,
            is_part=True,
        )
    raw = [seen for seen in sets.all if float(seen.images.abs().max()) > RAW]
    if raw:
        yield _raw(raw)
    elif (scale := scales(sets.all)) is not None:
        yield scale
    validation = sets.need_validation()
    if validation.images.shape[1] == sets.train.images.shape[1]:
        yield from _compared(sets.train, validation)


def _not_finite(broken: list[Seen]) -> Finding:
    counts = {seen.name.en: int((~seen.images.isfinite()).flatten(1).any(1).sum()) for seen in broken}
    ja = "、".join(f"{seen.name.ja}画像{counts[seen.name.en]}枚" for seen in broken)
    en = " and ".join(f"{count} {name} image{'' if count == 1 else 's'}" for name, count in counts.items())
    return NOT_FINITE.found(
        Text(f"NaN or infinity is among the pixels of {en}.", f"{ja}の画素にNaNまたは無限大が含まれています。"),
        {"images": counts},
    )


def _raw(raw: list[Seen]) -> Finding:
    low, high = min(float(seen.images.min()) for seen in raw), max(float(seen.images.max()) for seen in raw)
    names = [seen.name for seen in raw]
    en, ja = " and ".join(name.en for name in names), "と".join(f"{name.ja}画像" for name in names)
    is_uint8 = all(seen.is_uint8 for seen in raw)
    summary = Text(
        f"The pixels of the {en} images run from {low:g} to {high:g}.", f"{ja}の画素の値は{low:g}から{high:g}です。"
    )
    if is_uint8:
        summary = Text(
            summary.en + " They are uint8, so something must normalise them before the model does anything.",
            summary.ja + "uint8のままなので、モデルに入る前に正規化する必要があります。",
        )
    return RAW_PIXELS.found(
        summary,
        {"lowest": low, "highest": high, "sets": [name.en for name in names], "uint8": is_uint8},
        severity="note" if is_uint8 else "warning",
    )


def _compared(train: Seen, validation: Seen) -> Iterator[Finding]:
    one, other = _middle(train.images), _middle(validation.images)
    means, spreads = (one.mean(1), other.mean(1)), (one.std(1).clamp_min(1e-6), other.std(1).clamp_min(1e-6))
    wider = torch.maximum(*spreads)
    apart = ((means[0] - means[1]).abs() / wider).max()
    ratio = (torch.maximum(*spreads) / torch.minimum(*spreads)).max()
    ranges = _range(train.images), _range(validation.images)
    width = torch.minimum(*(high - low for low, high in ranges)).clamp_min(1e-6)
    moved = torch.maximum((ranges[0][0] - ranges[1][0]).abs(), (ranges[0][1] - ranges[1][1]).abs()) / width
    if (float(apart) <= APART and float(ratio) <= STRETCHED) or float(moved.max()) <= APART:
        return

    def words(values: Tensor) -> str:
        return ", ".join(f"{float(value):.2f}" for value in values)

    yield MISMATCH.found(
        Text(
            f"Training images have mean {words(means[0])} and standard deviation {words(spreads[0])}, validation images {words(means[1])} and "
            f"{words(spreads[1])}, and the ranges of their values differ too.",
            f"学習画像は平均が({words(means[0])})、標準偏差が({words(spreads[0])})ですが、検証画像はそれぞれ({words(means[1])})と({words(spreads[1])})で、値の範囲も異なります。",
        ),
        {
            "training_mean": means[0].tolist(),
            "training_std": spreads[0].tolist(),
            "validation_mean": means[1].tolist(),
            "validation_std": spreads[1].tolist(),
            "training_range": [ranges[0][0].tolist(), ranges[0][1].tolist()],
            "validation_range": [ranges[1][0].tolist(), ranges[1][1].tolist()],
        },
    )


def _middle(images: Tensor) -> Tensor:
    """The middle half of the images, a row a channel."""
    height, width = images.shape[-2:]
    part = images[..., height // 4 : height - height // 4, width // 4 : width - width // 4]
    return part.transpose(0, 1).flatten(1)


def _range(images: Tensor) -> tuple[Tensor, Tensor]:
    """Lowest and highest value of each channel."""
    channels = images.transpose(0, 1).flatten(1)
    return channels.amin(1), channels.amax(1)
