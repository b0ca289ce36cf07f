"""A table of positions that is cut along the batch, so that each image gets a vector of its own and each of its tokens the same one, or read at the
row that the number of images says. In go a patient and its batch, out comes the finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.slots import changed
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.placed import differs, made_of
from vitscope.lens.operations import SUMS
from vitscope.lens.tape import Tape

CUT = Fault(
    "position-cut-along-the-batch",
    "M21",
    "batch-independence",
    "error",
    Text(
        "The table of positions is cut by the number of images, not of tokens. All tokens of an image get the same vector, so the model does not "
        "know where a patch is, and the same image gets other scores at another place in the batch.",
        "位置の表が、トークン数ではなく画像の枚数で切り出されています。1枚の画像のトークンにはすべて同じベクトルが足されるため、モデルはパッチの位置を"
        "区別できません。また、同じ画像でもバッチ内の位置によってスコアが変わります。",
    ),
    Text(
        "let the table stand as (1, tokens, width) and cut it by the number of tokens, x.size(1)",
        "表の形状を(1, トークン, 幅)とし、トークン数x.size(1)で切り出してください",
    ),
    'self.register_buffer("pe", pe.view(1, -1, dim))\nx = x + self.pe[:, :x.size(1)]',
    explains=("position", "position-blind"),
)
BY_COUNT = Fault(
    "position-row-by-batch-size",
    "M21",
    "batch-independence",
    "error",
    Text(
        "The number of images is taken for that of tokens: in a batch of another size the same image gets other scores, and more images than the "
        "table has rows are an error.",
        "画像の枚数がトークン数として使われています。バッチサイズが変わると同じ画像でもスコアが変わり、表の行数より多い画像を入力するとエラーになります。",
    ),
    Text(
        "cut the table by the number of tokens, so that each token gets a row of its own",
        "表をトークン数で切り出し、トークンごとに別の行を足してください",
    ),
    "x = x + self.pos[:, :x.shape[1]]   # not x.shape[0]",
    explains=("position", "position-blind"),
)
_SEQUENCE_FIRST = Text(
    "let the table stand as (tokens, 1, width), as the tokens do, and cut it by the number of tokens, x.size(0)",
    "表の形状をトークンに合わせて(トークン, 1, 幅)とし、トークン数x.size(0)で切り出してください",
)


@torch.no_grad()
def cut_along_the_batch(patient: Patient, slots: Sequence[str], moved: float) -> Finding | None:
    """The finding where one of the parameters and buffers with a row for each image is added to the tokens, one vector for all of an image's, and
    has rows for as many as there are tokens; None otherwise."""
    held = dict([*patient.model.named_parameters(), *patient.model.named_buffers()])
    names = {id(held[name]): name for name in slots if name in held}
    for call in patient.tape.calls if names and patient.batch is None else ():
        shape = call.outputs[0].shape if call.outputs else ()
        if call.name not in SUMS or len(shape) != 3 or 1 not in shape[:2]:
            continue
        tokens = max(shape[:2])
        for source in call.sources:
            is_vector = not patient.tape.is_of_image(source) and _is_the_same_for_all(source.tensor, shape[-1])
            for name in [names[each] for each in made_of(source) if each in names] if is_vector else ():
                if tokens > 1 and held[name].numel() // shape[-1] >= tokens:
                    return _told(name, call.path or "the model", moved, is_sequence_first=shape[1] == 1)
    return None


def _is_the_same_for_all(added: Tensor, width: int) -> bool:
    """Whether what is added to one image's tokens is one vector, if repeated."""
    return added.ndim > 0 and added.shape[-1] == width and (added.numel() == width or not differs(added))


def _told(name: str, path: str, moved: float, *, is_sequence_first: bool) -> Finding:
    fault = CUT
    if is_sequence_first:
        code = 'self.register_buffer("pe", pe.view(-1, 1, dim))\nx = x + self.pe[:x.size(0)]'
        fault = replace(CUT, advice=_SEQUENCE_FIRST, code=code)
    return fault.found(
        Text(
            f"{name} is cut along the batch in {path}: image number n gets its row n at every token, so the same image gets other scores at another "
            f"place in the batch (off by {moved:.2g} of their size), and no token knows its place.",
            f"{name}が{path}でバッチの軸に沿って切り出されています。n番目の画像には、どのトークンにもn行目が足されます。そのため同じ画像でもバッチ内の位置が"
            f"変わるとスコアが変わり（相対的な差{moved:.2g}）、トークンの位置は区別されません。",
        ),
        {"change_of_scores": moved, "per_place": [name], "module": path},
    )


@torch.no_grad()
def row_by_count(patient: Patient, images: Tensor, change: float) -> Finding | None:
    """The finding where what is added to the tokens begins at another row of some parameter or buffer in a batch of these images than for one; also
    where that table starts at zero, so that the scores do not `change` as yet."""
    held = {name: t for name, t in (*patient.model.named_parameters(), *patient.model.named_buffers()) if t.ndim > 1}
    empty = [held[name] for name, rows, _ in _added(patient.tape, held) if not bool(rows.any())]
    if not change and not empty:
        return None
    with ExitStack() as filled:
        for tensor in empty:
            filled.enter_context(changed(tensor, _some(tensor)))
        one, several = _added(patient.tape_of(images[:1]), held), _added(patient.tape_of(images), held)
        for (name, rows, shape), (twin, others, _) in zip(one, several, strict=False):
            places = _row(held[name], rows), _row(held[name], others)
            if name == twin and places[0] != places[1] and None not in places:
                tokens = 0 if shape[1] == 1 else 1
                return _told_by_count(name, held[name], tokens, places, len(images), change)
    return None


def _added(tape: Tape, held: Mapping[str, Tensor]) -> list[tuple[str, Tensor, torch.Size]]:
    """What is made of a table and added to numbers of the image with three axes, in order: the table's name, the rows, the shape of the sum."""
    names, found = {id(tensor): name for name, tensor in held.items()}, []
    for call in tape.calls:
        if call.name in SUMS and call.outputs[0].ndim == 3 and any(map(tape.is_of_image, call.sources)):
            tables = [each for each in call.sources if not tape.is_of_image(each)]
            found += [
                (names[each], source.tensor, call.outputs[0].shape)
                for source in tables
                for each in made_of(source)
                if each in names
            ]
    return found


def _some(like: Tensor) -> Tensor:
    return torch.rand(like.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(like)


def _row(table: Tensor, rows: Tensor) -> int | None:
    """Which row of a table is the first that is added; None where it is none of them, or not one alone."""
    if not rows.ndim or table.shape[-1] != rows.shape[-1]:
        return None
    found = (table.reshape(-1, table.shape[-1]) == rows.reshape(-1, rows.shape[-1])[0]).all(dim=-1).nonzero()
    return int(found) if found.numel() == 1 else None


def _told_by_count(
    name: str, table: Tensor, tokens: int, rows: tuple[int | None, ...], count: int, change: float
) -> Finding:
    """`tokens` is their axis."""
    own, _, leaf = name.rpartition(".")
    if leaf == "weight" and own:  # nn.Embedding
        own = own.rpartition(".")[2]
        cut, wrong = (
            f"self.{own}(torch.arange(x.shape[{tokens}], device=x.device))",
            f"self.{own} of x.shape[{1 - tokens}]",
        )
    else:
        before = ":, " if table.ndim > 2 and table.shape[0] == 1 else ""
        behind = ", None" if table.ndim == 2 and tokens == 0 else ""
        cut, wrong = f"self.{leaf}[{before}:x.shape[{tokens}]{behind}]", f"x.shape[{1 - tokens}]"
    en = f"so an image by itself gets other scores than in a batch of {count} (off by {change:.2g} of their size)"
    ja = f"同じ画像でも、1枚だけで入力したときと{count}枚のバッチに入れたときでスコアが異なります（相対的な差{change:.2g}）"
    if not change:
        en, ja = (
            "which comes to count once its rows have been trained apart",
            "行が学習で変わると、バッチサイズによってスコアが変わるようになります",
        )
    return replace(BY_COUNT, code=f"x = x + {cut}   # not {wrong}").found(
        Text(
            f"The number of images says which row of {name} is added to the tokens (row {rows[0]} for one image, row {rows[1]} for {count}), {en}.",
            f"トークンに足される{name}の行が、画像の枚数で決まっています（1枚なら{rows[0]}行目、{count}枚なら{rows[1]}行目）。{ja}。",
        ),
        {"change_of_scores": change, "batch_size": count, "parameters": [name]},
    )
