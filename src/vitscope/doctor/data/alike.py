"""Whether both sets are pictures of one kind, before any normalisation: as many channels, both in colour or both grey, about as bright. In go two
sets, out come findings.

Grey images are told whatever normalisation they went through: their channels lie on one straight line.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt

from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.seen import KEPT, Seen
from vitscope.doctor.finding import Fault, Finding

CHECK = "data-normalisation"
LOOKED_AT, FEW = 500, 20
"""Images of each set that are compared at most, and at least."""
GREY, COLOURED = 0.03, 0.1
"""How far channels lie from one line, in their standard deviations: grey images, with JPEG's noise, up to the first; colour from the second on."""
BY_CHANCE = 1e-6
APART, FAR_APART, SURE = 1.0, 5.0, 6.0
"""Distance of two sets' brightness in standard deviations of one image: of sets whose pixels have different ranges, and of any; and in standard
errors. (Photographs and drawings, or MNIST and SVHN, are up to 3.3 apart.)"""
OTHER_RANGE = 0.2
"""Of the narrower range, from which on another lowest or highest pixel is another range."""
_WHERE_MEANT = Text(
    "; nothing to do where this difference is what you mean to measure",
    "。この違いがある条件での性能を測りたい場合、対応は不要です",
)
OTHER_CHANNELS = Fault(
    "channels-differ",
    "D4",
    CHECK,
    "warning",
    Text(
        "A model takes images of one number of channels: one of both sets stops it with an error, or is silently spread over channels.",
        "モデルが受け取るチャネル数は1つに決まっています。どちらかのデータでエラーになるか、気付かないうちにチャネルが複製されます。",
    ),
    Text(
        "convert the images of both sets alike: to RGB, or to grey",
        "両方のデータの画像を、同じ形式（RGBまたはグレースケール）に変換してください",
    ),
    'image = Image.open(file).convert("RGB")',
)
ONE_IS_GREY = Fault(
    "one-set-is-grey",
    "D4",
    CHECK,
    "warning",
    Text(
        "What a model learns of colour does not hold for grey images, and what it learns without colour leaves it unused: validation measures a "
        "harder task than the one that was learned.",
        "カラー画像で学習した色の手がかりはグレースケール画像では使えず、グレースケールで学習したモデルは色を利用できません。"
        "検証では、学習したものより難しい問題を解くことになります。",
    ),
    Text(
        "convert the images of both sets alike; look how each was loaded and stored (convert('L'), Grayscale, a flag of the decoder)"
        + _WHERE_MEANT.en,
        "両方のデータの画像を同じ形式に変換してください。それぞれの読み込みと保存の方法（convert('L')、Grayscale、デコーダーの設定）を確認してください"
        + _WHERE_MEANT.ja,
    ),
    'image = Image.open(file).convert("RGB")',
)
OTHER_BRIGHTNESS = Fault(
    "brightness-differs",
    "D4",
    CHECK,
    "warning",
    Text(
        "Validation shows the model other numbers than it learned from: its accuracy is too low, however well it learned.",
        "検証では、学習時とは異なる値の画像がモデルに渡されます。どれほどよく学習していても、正解率が低く出ます。",
    ),
    Text(
        "look how the images of both sets were made and stored: a scale of its own, a negative, another exposure or another number of bits"
        + _WHERE_MEANT.en,
        "両方のデータの画像がどう作られ、保存されたか確認してください（異なるスケール、階調の反転、露出、ビット数など）"
        + _WHERE_MEANT.ja,
    ),
)


def unlike(train: Seen, validation: Seen) -> Iterator[Finding]:
    """What two sets of finite images differ in; brightness is compared as images are stored, for normalised ones see `normalisation`."""
    if min(len(train.images), len(validation.images)) < FEW or not (_are_all(train) and _are_all(validation)):
        return
    if train.images.shape[1] != validation.images.shape[1]:
        yield _other_channels(train, validation)
        return
    one, other = _some(train.images), _some(validation.images)
    for grey, pixels, coloured, rest in ((train, one, validation, other), (validation, other, train, one)):
        if (share := _share_of_grey(pixels, rest)) is not None:
            yield _one_is_grey(grey, coloured, share)
    if train.is_table and validation.is_table:
        yield from _brightness(one, other)


def _are_all(seen: Seen) -> bool:
    """Whether images of one shape are all there are: of a mixed set the first shape says nothing of the rest."""
    return len(seen.images) == min(len(seen), KEPT)


def _some(images: Tensor) -> Tensor:
    return images[:: -(-len(images) // LOOKED_AT)]


def _other_channels(train: Seen, validation: Seen) -> Finding:
    counts = train.images.shape[1], validation.images.shape[1]
    return OTHER_CHANNELS.found(
        Text(
            f"Training images have {counts[0]} channel{'s' * (counts[0] != 1)}, validation images {counts[1]}.",
            f"学習画像は{counts[0]}チャネル、検証画像は{counts[1]}チャネルです。",
        ),
        {"training_channels": counts[0], "validation_channels": counts[1]},
    )


def _share_of_grey(pixels: Tensor, rest: Tensor) -> float | None:
    """Of images that are all grey beside others that are not: how many of the others are; None where it is not so, or may be chance."""
    if pixels.shape[1] != 3 or (line := _line(pixels)) is None or _line(rest) is None:
        return None
    if float(_distances(pixels, *line).max()) > GREY or _distance_of_all(rest) < COLOURED:
        return None
    grey = int((_distances(rest, *line) <= GREY).sum())
    likely = (grey + 1) / (len(rest) + 2)
    return grey / len(rest) if likely ** len(pixels) < BY_CHANCE else None


def _line(images: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Slope and offset of each channel over the first, by least squares, and each channel's standard deviation; None where one is blank."""
    channels = images.transpose(0, 1).flatten(1).double()
    spread = channels.std(1)
    if float(spread.min()) <= 1e-6 * float(channels.abs().max()):
        return None
    middle = channels - channels.mean(1, keepdim=True)
    slope = (middle @ middle[0]) / (middle[0] @ middle[0])
    return slope, channels.mean(1) - slope * channels[0].mean(), spread


def _distances(images: Tensor, slope: Tensor, offset: Tensor, spread: Tensor) -> Tensor:
    """How far the pixels of each image lie from a line, in standard deviations of the channel that is furthest from it."""
    expected = slope[:, None, None] * images[:, :1].double() + offset[:, None, None]
    return ((images - expected) / spread[:, None, None]).square().mean((2, 3)).sqrt().amax(1)


def _distance_of_all(images: Tensor) -> float:
    line = _line(images)
    return 0.0 if line is None else float(_distances(images, *line).square().mean().sqrt())


def _one_is_grey(grey: Seen, coloured: Seen, share: float) -> Finding:
    few = Text("", "")
    if share >= 0.005:
        few = Text(f" ({share:.0%} of them grey)", f"（グレースケールは{share:.0%}）")
    return ONE_IS_GREY.found(
        Text(
            f"The {grey.name.en} images are all grey, the {coloured.name.en} images in colour{few.en}.",
            f"{grey.name.ja}画像はすべてグレースケールですが、{coloured.name.ja}画像はカラーです{few.ja}。",
        ),
        {"set": grey.name.en, "images": len(grey.images), "share_of_grey_in_the_other": share},
    )


def _brightness(train: Tensor, validation: Tensor) -> Iterator[Finding]:
    """Sets of which hardly any images are as bright as the other's, or as rich in contrast, where the ranges of their pixels differ too."""
    ranges = [(float(each.min()), float(each.max())) for each in (train, validation)]
    width = max(min(high - low for low, high in ranges), 1.0)
    moved = max(abs(a - b) for a, b in zip(*ranges, strict=True)) / width
    means = [each.flatten(1).mean(1) for each in (train, validation)]
    spreads = [each.flatten(1).std(1) for each in (train, validation)]
    apart = max(_apart(*means), _apart(*spreads)) if moved > OTHER_RANGE else 0.0
    errors = sqrt(len(train) * len(validation) / (len(train) + len(validation)))
    if max(apart / APART, _apart(*means) / FAR_APART) <= 1 or max(apart, _apart(*means)) * errors <= SURE:
        return
    bright, varied = [float(each.mean()) for each in means], [float(each.std()) for each in means]
    yield OTHER_BRIGHTNESS.found(
        Text(
            f"As they are stored, training images have a mean brightness of {bright[0]:.0f} (± {varied[0]:.0f} from image to image) and pixels from "
            f"{ranges[0][0]:.0f} to {ranges[0][1]:.0f}, validation images {bright[1]:.0f} (± {varied[1]:.0f}) and {ranges[1][0]:.0f} to "
            f"{ranges[1][1]:.0f}.",
            f"保存されている画像の平均の明るさは、学習画像が{bright[0]:.0f}（画像ごとのばらつき±{varied[0]:.0f}、画素の値は{ranges[0][0]:.0f}〜"
            f"{ranges[0][1]:.0f}）、検証画像が{bright[1]:.0f}（±{varied[1]:.0f}、{ranges[1][0]:.0f}〜{ranges[1][1]:.0f}）です。",
        ),
        {
            "training_mean": bright[0],
            "validation_mean": bright[1],
            "training_std": varied[0],
            "validation_std": varied[1],
            "training_range": list(ranges[0]),
            "validation_range": list(ranges[1]),
        },
    )


def _apart(one: Tensor, other: Tensor) -> float:
    """Distance of two means in standard deviations of the set that varies more, at least one level of brightness."""
    wider = max(float(one.std()), float(other.std()), 1.0)
    return abs(float(one.mean()) - float(other.mean())) / wider
