"""Whether there are pictures at all: a damaged file is none, and a set of which every image is the same shows nothing. In go sets as far as they
were seen, out come findings."""

from __future__ import annotations

from collections.abc import Sequence

from vitscope._core.text import Text
from vitscope.doctor.data.seen import FEW, Seen
from vitscope.doctor.finding import Fault, Finding

ALIKE = Fault(
    "images-all-the-same",
    "D5",
    "data-normalisation",
    "error",
    Text(
        "No image tells anything that another does not: whatever the labels are, a model can learn how frequent classes are and no more.",
        "どの画像からも同じ情報しか得られません。ラベルが何であっても、モデルが学べるのはクラスの頻度だけです。",
    ),
    Text(
        "look at ten images behind all transforms: files that are black, an integer division, a clamp to the wrong range, an array "
        "that was made and never filled, or one image for every index",
        "すべての変換を終えた画像を10枚見てください。真っ黒なファイル、整数どうしの切り捨て除算、範囲を誤ったclamp、値を入れていない配列、"
        "どの番号でも同じ画像を返す処理が考えられます",
    ),
    "for image, label in itertools.islice(train, 10):\n    print(label, image.min(), image.max())",
    explains=("data-augmentation", "data-leak", "labels-not-read-by-probes", "labels-do-not-belong-to-images"),
)
UNREADABLE = Fault(
    "images-cannot-be-read",
    "D5",
    "data-normalisation",
    "warning",
    Text(
        "A training stops where it comes to the first of them, maybe after hours; the examination left them out.",
        "学習は、これらの画像を読み込んだ時点で止まります（何時間も経ってからのこともあります）。検査ではこれらを除きました。",
    ),
    Text(
        "remove them, or put whole files in their place",
        "削除するか、正常なファイルに差し替えてください",
    ),
)
NAMED = 5
"""Images that are named in a sentence."""


def cannot_be_read(names: Sequence[str]) -> Finding:
    """The finding of images that are damaged, or none."""
    count = len(names)
    more = f" … ({count})" * (count > NAMED)
    return UNREADABLE.found(
        Text(
            f"{count:,} image{'' if count == 1 else 's'} cannot be read: {', '.join(names[:NAMED])}{more}.",
            f"読み込めない画像が{count:,}枚あります：{'、'.join(names[:NAMED])}{more}。",
        ),
        {"images": list(names)},
    )


def are_alike(seen: Seen) -> bool:
    """Whether all of several images are the same, number by number; a few may be somebody's one image, given again."""
    images = seen.images
    if len(images) < 2 or not images.numel():
        return False
    return bool((images == images[0]).all()) and (len(images) >= FEW or _is_blank(seen))


def all_the_same(sets: Sequence[Seen]) -> Finding | None:
    """The finding of sets that hold one image only; None where there are none."""
    alike = [seen for seen in sets if are_alike(seen)]
    if not alike:
        return None
    values = sorted({_colour(seen) for seen in alike})
    en = " and ".join(f"{len(seen.images):,} {seen.name.en}" for seen in alike)
    ja = "と".join(f"{seen.name.ja}画像{len(seen.images):,}枚" for seen in alike)
    said = Text(
        f"The {en} images that were looked at are the same, pixel by pixel", f"調べた{ja}は、画素まですべて同じです"
    )
    blank = all(map(_is_blank, alike))
    if blank and len(values) == 1:
        value = _written(values[0])
        said = Text(
            f"In the {en} images that were read every pixel that was looked at is {value}",
            f"読み込んだ{ja}では、調べた画素がすべて{value}です",
        )
    elif len(alike) > 1:
        said = Text(
            f"The {en} images that were looked at are the same within each set, pixel by pixel",
            f"調べた{ja}は、それぞれのデータの中で画素まですべて同じです",
        )
    return ALIKE.found(
        Text(said.en + ".", said.ja + "。"),
        {
            "images": {seen.name.en: len(seen.images) for seen in alike},
            "sets": [seen.name.en for seen in alike],
            "values": list(map(list, values)) if blank else [],
        },
    )


def _is_blank(seen: Seen) -> bool:
    """Whether all pixels have one colour."""
    return bool((seen.images == seen.images[:1, :, :1, :1]).all())


def _colour(seen: Seen) -> tuple[float, ...]:
    return tuple(value + 0.0 for value in seen.images[0, :, 0, 0].tolist())


def _written(colour: tuple[float, ...]) -> str:
    """One number where all channels have the same."""
    words = [f"{value:.3g}" for value in colour]
    return words[0] if len(set(words)) == 1 else f"({', '.join(words)})"
