"""Whether all validation images are measured. In go two sets, out comes at most one finding."""

from __future__ import annotations

from collections.abc import Iterator

from vitscope._core.text import Text
from vitscope.doctor.data.sets import Sets
from vitscope.doctor.finding import Fault, Finding

DROPS = Fault(
    "validation-drops-images",
    "E2",
    "data-evaluation",
    "note",
    Text(
        "The accuracy is of fewer images than it is said to be, and other ones each time if the loader shuffles.",
        "正解率が、実際には一部の画像だけで測られています。ローダーがシャッフルする場合は、毎回違う画像が除かれます。",
    ),
    Text(
        "leave drop_last out of the validation loader, and divide the sum of right answers by the number of images, not the mean of batches "
        "by batches",
        "検証用ローダーではdrop_lastを使わないでください。正解率は、バッチごとの平均ではなく、正解数の合計を画像の枚数で割って求めてください",
    ),
    "DataLoader(val, batch_size=128)   # drop_last=False",
)


def data_evaluation(sets: Sets) -> Iterator[Finding]:
    """Whether the validation loader gives every image.

    Does: holds what a torch loader with `drop_last` gives against its data set's length.
    Finds: images that are dropped at the end (E2).
    Must not accuse: training loaders; samplers that take a part on purpose, such as one of several processes.
    """
    validation = sets.need_validation()
    if not validation.left_out or validation.total is None:
        return
    left_out, total = validation.left_out, validation.total
    yield DROPS.found(
        Text(
            f"drop_last=True leaves {left_out:,} of {total:,} validation images out.",
            f"drop_last=Trueのため、検証画像{total:,}枚のうち{left_out:,}枚が測定されません。",
        ),
        {"left_out": left_out, "images": total},
    )
