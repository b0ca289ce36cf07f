"""What is wrong where a model gives no scores, or another number of them than there are classes. In go shapes, out come findings."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from vitscope._core.errors import ModelError
from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.first_image import Taken, advice


class NoScoresError(ModelError):
    """The model runs and gives back something that is no scores B Y; `shape` is that of what it gave for `count` images, `taken` what reads along
    the batch."""

    def __init__(self, message: str, answer: object, count: int, taken: Taken | None = None) -> None:
        super().__init__(message)
        self.count, self.taken = count, taken
        self.shape = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__


WRONG_SHAPE = Fault(
    "wrong-output-shape",
    "M28",
    "forward",
    "error",
    Text(
        "A loss for classification takes one row of scores for each image; anything else fails, or is broadcast silently into another loss.",
        "分類の損失は、画像1枚につき1行のスコアを受け取ります。それ以外の形状はエラーになるか、暗黙のブロードキャストで別の損失になります。",
    ),
    Text(
        "read the tokens out (class token or mean) before the head",
        "ヘッドの前でトークンを読み出してください（クラストークンまたは平均）",
    ),
    "return self.head(self.norm(x)[:, 0])   # or self.norm(x).mean(dim=1)",
)


_HEAD_OF_ANOTHER_SIZE = Text(
    "let the last layer give as many scores as there are classes, or give the doctor the number that is meant (num_classes)",
    "最後の層の出力数をクラス数に合わせるか、doctorに正しいクラス数（num_classes）を指定してください",
)


def wrong_classes(asked: int, given: int) -> Finding:
    return replace(WRONG_SHAPE, advice=_HEAD_OF_ANOTHER_SIZE, code=f"self.head = nn.Linear(dim, {asked})").found(
        Text(
            f"The model gives {given} scores for an image where {asked} classes were asked for.",
            f"クラス数は{asked}と指定されましたが、モデルは画像1枚につき{given}個のスコアを返します。",
        ),
        {"scores": given, "classes": asked},
    )


def no_scores(error: NoScoresError) -> Finding:
    """The finding for a model that gives back no scores."""
    shape = error.shape if isinstance(error.shape, str) else "×".join(map(str, error.shape))
    fault, en, ja = WRONG_SHAPE, "", ""
    if error.taken is not None:
        where = error.taken
        fault = replace(WRONG_SHAPE, advice=advice(where), code=f"return self.head({where.meant})")
        en = f" {where.written} in {where.path} reads along the batch: the tokens are {where.shape.en}."
        ja = f"トークンの形状は{where.shape.ja}なので、{where.path}の{where.written}はバッチの軸に沿って読み出しています。"
    batch = "one image" if error.count == 1 else f"a batch of {error.count} images"
    return fault.found(
        Text(
            f"For {batch} the model gives back {shape} and no row of scores for each image.{en}",
            f"画像{error.count}枚のバッチに対してモデルが返すのは{shape}で、画像ごとのスコアの行ではありません。{ja}",
        ),
        {"shape": error.shape},
    )
