"""Whether the numbers of pixels are about as large as a model expects, in all sets alike. In go sets as far as they were seen, out come findings.

What is said is what the numbers are. A set of 0 to 1, of -1 to 1, normalised by anybody's mean and deviation, whitened, dark or grey lies between
the two bars, with much room on either side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.data.seen import Seen
from vitscope.doctor.finding import Fault, Finding

CHECK = "data-normalisation"
NARROW = 0.02
"""Between the lowest and the highest pixel of any channel: 1/255, as pixels have that are divided twice, and then divided by a deviation of 0.2."""
WIDE = 2.5
"""Standard deviation of every channel: normalised images have 1, those normalised twice 3 (MNIST) to 5 (ImageNet)."""
TWICE_DIVIDED = 1.01 / 255
HARDLY_DIFFER = Fault(
    "pixels-hardly-differ",
    "D5",
    CHECK,
    "warning",
    Text(
        "The patch embedding's start values are made for numbers that differ by about 1: of a hundredth of that hardly anything is left beside the "
        "position embedding, and training begins as if on blank images.",
        "パッチ埋め込みの初期値は、画素の値が1程度ばらつくことを想定しています。ばらつきがその100分の1では位置埋め込みに埋もれ、学習はほぼ無地の画像から始まります。",
    ),
    Text(
        "look for a second division by 255 (ToTensor is the first), or a mean and standard deviation for 0 to 255 on images of 0 to 1, unless the "
        "model normalises by itself",
        "255で2回割っていないか（ToTensorがすでに割っています）、0〜1の画像に0〜255用の平均と標準偏差を使っていないか確認してください。モデル側で正規化している場合は不要です",
    ),
    "transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])   # no / 255",
)
SPREAD_WIDE = Fault(
    "pixels-spread-wide",
    "D5",
    CHECK,
    "warning",
    Text(
        "The patch embedding's start values are made for a standard deviation of 1: several times that drowns positions, makes the first steps "
        "larger than the learning rate is meant for, and weights trained elsewhere see colours that they do not know.",
        "パッチ埋め込みの初期値は標準偏差1を想定しています。その数倍では位置埋め込みが埋もれ、最初の更新も学習率の想定より大きくなります。"
        "学習済みの重みにとっては、見たことのない色になります。",
    ),
    Text(
        "normalise once: look for Normalize in the transform and again in a processor, a data set or the loop; pixels of another range than 0 to 1 "
        "are divided by their largest value first",
        "正規化は1回だけにしてください。変換のほかに、プロセッサ、データセット、学習ループでもNormalizeをかけていないか確認してください。"
        "画素が0〜1でなければ、先に最大値で割ってください",
    ),
    "transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])   # the only one",
)


def scales(sets: Sequence[Seen]) -> Finding | None:
    """The finding of images all of whose sets are far too small or too large; of uint8, normalised later, nothing is said."""
    if any(seen.is_uint8 or not seen.images.numel() for seen in sets):
        return None
    if all(float(_ranges(seen).max()) < NARROW for seen in sets):
        return _hardly_differ(sets)
    if all(float(_channels(seen).std(1).min()) > WIDE for seen in sets):
        return _spread_wide(sets)
    return None


def _channels(seen: Seen) -> Tensor:
    return seen.images.transpose(0, 1).flatten(1).double()


def _ranges(seen: Seen) -> Tensor:
    channels = _channels(seen)
    return channels.amax(1) - channels.amin(1)


def _hardly_differ(sets: Sequence[Seen]) -> Finding:
    low, high = min(float(seen.images.min()) for seen in sets), max(float(seen.images.max()) for seen in sets)
    apart = max(float(_ranges(seen).max()) for seen in sets)
    en, ja = _names(sets)
    also = Text("", "")
    if low >= 0 and high <= TWICE_DIVIDED:
        also = Text(" Dividing by 255 twice gives such numbers.", "255で2回割ると、この範囲になります。")
    return HARDLY_DIFFER.found(
        Text(
            f"The pixels of the {en} images run from {low:.2g} to {high:.2g}." + also.en
            if also.en
            else f"The pixels of one channel of the {en} images are at most {apart:.2g} apart ({low:.3g} to {high:.3g} in all).",
            f"{ja}の画素の値は{low:.2g}から{high:.2g}です。" + also.ja
            if also.ja
            else f"{ja}では、同じチャネルの画素の値の差が最大でも{apart:.2g}しかありません（全体で{low:.3g}から{high:.3g}）。",
        ),
        {"lowest": low, "highest": high, "apart_at_most": apart, "sets": [seen.name.en for seen in sets]},
    )


def _spread_wide(sets: Sequence[Seen]) -> Finding:
    pixels = torch.cat([_channels(seen).flatten() for seen in sets])
    mean, spread = float(pixels.mean()), float(pixels.std())
    low, high = float(pixels.min()), float(pixels.max())
    en, ja = _names(sets)
    also = Text("", "")
    if low < -WIDE and high > WIDE:
        also = Text(" Normalising twice gives such numbers.", "2回正規化した画像は、このような値になります。")
    return SPREAD_WIDE.found(
        Text(
            f"The pixels of the {en} images have mean {mean:.1f} and standard deviation {spread:.1f}, where normalised images have 0 and 1."
            + also.en,
            f"{ja}の画素は平均{mean:.1f}、標準偏差{spread:.1f}です（正規化した画像なら、ほぼ0と1です）。" + also.ja,
        ),
        {"mean": mean, "spread": spread, "lowest": low, "highest": high, "sets": [seen.name.en for seen in sets]},
    )


def _names(sets: Sequence[Seen]) -> tuple[str, str]:
    return " and ".join(seen.name.en for seen in sets), "と".join(f"{seen.name.ja}画像" for seen in sets)
