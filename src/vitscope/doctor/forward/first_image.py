"""A read-out along the batch: `x[0]` where `x[:, 0]` was meant, or the other way round. In go tapes of batches, out come the operation that takes
one image's tokens for one token of each image, and the finding that names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.lens.flow import ancestors
from vitscope.lens.tape import Call, Tape, record

ODD_SIZES = (3, 5)
"""Batches that hardly anything else in a model is as long as."""

EVERYTHING_INSIDE = (
    "input-blindness",
    "pixel-coverage",
    "position",
    "token-mixing",
    "attention",
    "residual",
    "gradient",
    "zero-gradient",
    "initial-loss",
    "overfit",
    "learning-rate",
)
"""What follows where images of a batch are mixed up."""
ONE_IMAGE = Fault(
    "one-image-read-for-all",
    "M1",
    "batch-independence",
    "error",
    Text(
        "The head is given the tokens of a single image in the place of one token of each: the scores of all other images hang on a picture that is "
        "not theirs, so labels and pictures do not belong together.",
        "ヘッドには、各画像のトークン1つずつではなく、1枚の画像のトークンが渡されます。ほかの画像のスコアは自分とは別の画像から計算されるため、"
        "ラベルと画像が対応しません。",
    ),
    Text(
        "the tokens are (batch, tokens, width): take the class token of each image, [:, 0], or the mean of its tokens where there is none",
        "トークンの形状は(バッチ, トークン, 幅)です。[:, 0]で各画像のクラストークンを取り出してください。クラストークンがなければ、"
        "画像ごとにトークンの平均を取ってください",
    ),
    "return self.head(x[:, 0])   # or x.mean(dim=1)",
    explains=(*EVERYTHING_INSIDE, "works-only-at-some-batch-sizes"),
)


class Taken(NamedTuple):
    """What runs along the batch where it should run along the tokens: takes one place of it, or the mean over it."""

    path: str
    axis: int
    place: int | None
    tokens: int
    """How many an image has."""
    has_class_token: bool

    @property
    def written(self) -> str:
        return f"x[{':, ' * self.axis}{self.place}]" if self.place is not None else f"x.mean({self.axis})"

    @property
    def meant(self) -> str:
        is_place = self.place is not None and self.has_class_token
        return f"x[{':, ' * (1 - self.axis)}0]" if is_place else f"x.mean({1 - self.axis})"

    @property
    def image(self) -> Text:
        if self.place == -1:
            return Text("the last image", "最後の画像")
        return Text(f"image {self.place}", f"{self.place}番の画像")

    @property
    def shape(self) -> Text:
        if self.axis == 0:
            return Text("(batch, tokens, width)", "(バッチ, トークン, 幅)")
        return Text("(tokens, batch, width)", "(トークン, バッチ, 幅)")


def taken(tape: Tape, call: Call, size: int) -> Taken | None:
    """What an operation reads out, if its axis is the first or second one of tokens, and that is as long as the batch."""
    if call.name not in ("select", "slice", "mean") or not call.sources or len(call.args) < 2:
        return None
    shape, given = call.sources[0].tensor.shape, call.args[1]
    axis = int(given if isinstance(given, int) else given[0]) % len(shape)
    index = None if call.name == "mean" else int(call.args[2] or 0) if len(call.args) > 2 else 0
    is_one = call.name != "slice" or call.outputs[0].shape[axis] == 1
    is_of_tokens = len(shape) == 3 and axis < 2 and shape[axis] == size
    if not is_one or not is_of_tokens:
        return None
    return Taken(call.path or "the model", axis, index, shape[1 - axis], _joins_a_token(tape, shape[-1]))


def _joins_a_token(tape: Tape, width: int) -> bool:
    """Whether tokens that are not of the image are joined to those that are."""
    return any(
        call.name == "cat"
        and call.outputs[0].ndim == 3
        and call.outputs[0].shape[-1] == width
        and any(source.tensor.numel() and not tape.is_of_image(source) for source in call.sources)
        and any(map(tape.is_of_image, call.sources))
        for call in tape.calls
    )


@torch.no_grad()
def along_the_batch(model: nn.Module, images: Tensor) -> Taken | None:
    """What reads along the batch in a model that gives no row for each image, at whatever batch size."""
    found: list[set[Taken]] = []
    try:
        for size in ODD_SIZES:
            given = images.repeat(-(-size // len(images)), 1, 1, 1)[:size]
            with record(model, given) as tape:
                answer = model(given)
            found.append({each for call in _way(tape, answer) if (each := taken(tape, call, size)) is not None})
    except Exception:  # somebody's forward at another batch size
        return None
    both = set.intersection(*found)
    return next(iter(both)) if len(both) == 1 else None


def _way(tape: Tape, answer: Tensor) -> Sequence[Call]:
    """The calls that lead to what a model gave back."""
    maker = tape.maker(answer)
    return [] if maker is None else [tape.calls[number] for number in sorted(ancestors(maker) | {maker.number})]


def one_image_read(where: Taken, influence: float) -> Finding:
    """The finding; of tokens that stand in front of the batch the fix is the other one."""
    fault = replace(ONE_IMAGE, advice=advice(where), code=f"return self.head({where.meant})")
    return fault.found(
        Text(
            f"All scores of a batch come from one image: {where.written} in {where.path}, where tokens are {where.shape.en}, takes the tokens of "
            f"{where.image.en}, not one token of each image. Noise in the place of all other images changes nothing.",
            f"バッチ全体のスコアが1枚の画像だけから計算されています。トークンの形状は{where.shape.ja}なので、{where.path}の{where.written}は"
            f"各画像のトークン1つずつではなく、{where.image.ja}の全トークンを取り出します。ほかの画像をノイズに替えても何も変わりません。",
        ),
        {"module": where.path, "image_read": where.place, "influence": influence},
    )


def advice(where: Taken) -> Text:
    """The same along the other axis."""
    return Text(
        f"the tokens are {where.shape.en}: read them out of each image, with {where.meant}",
        f"トークンの形状は{where.shape.ja}です。{where.meant}として、画像ごとに読み出してください",
    )
