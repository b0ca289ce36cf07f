"""One image through a model, every intermediate by name: in go an `nn.Module`, whoever wrote it, and an image, out comes a `Trace`.

trace = vitscope.trace(model, image)
trace["block03/attention"]  # K T T: how much each token took of each other
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vitscope._core.errors import LensError, VitscopeError
from vitscope._core.text import Text, language_of_locale
from vitscope.lens.anatomy import Anatomy, as_tokens, find_anatomy
from vitscope.lens.attention import Attention, find_attentions
from vitscope.lens.forward import one_forward, why_it_failed
from vitscope.lens.heads import with_heads_together
from vitscope.lens.layout import Layout, find_layout
from vitscope.lens.operations import CONVOLUTIONS, POOLINGS
from vitscope.lens.reading import find_class_token, read_tokens
from vitscope.lens.refusals import refuse_not_finite
from vitscope.lens.tape import Tape


@dataclass(frozen=True, eq=False, repr=False)
class Trace(Mapping[str, Tensor]):
    """All that one image became on its way to the scores. Names are those of the field: `patch_embedding`, `block00/q`, `logits`, …

    Shapes are those of one image: tokens T D, heads K T E, maps K T T. `after_attention` and `after_mlp` are the sums that bring a branch
    back to the tokens; where the block's norm stands behind them (post-norm, a note says so) they are the sums before it.
    """

    named: Mapping[str, Tensor]
    attentions: tuple[Attention, ...]
    anatomy: Anatomy
    layout: Layout
    reads: tuple[int, ...]
    """The tokens, as the last block leaves them, that the scores depend on."""
    class_token: int | None
    """The token that is no patch and that the scores are read from for itself, not as a part of a mean."""
    tape: Tape
    notes: tuple[Text, ...]

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.named[name]
        except KeyError:
            known = ", ".join(self.named)
            raise KeyError(f"the trace has no '{name}'; it has {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.named)

    def __len__(self) -> int:
        return len(self.named)

    def __repr__(self) -> str:
        height, width = self.layout.grid
        return (
            f"<Trace of {len(self.anatomy.blocks)} blocks, {len(self.layout.patch_of_token)} tokens ({height}×{width} patches), "
            f"{len(self)} intermediates; largest error of map · v: {self.worst_error:.1e}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows, in the language of the locale."""
        from vitscope.lens.display import html_of

        return html_of(self, language_of_locale())

    @property
    def worst_error(self) -> float:
        """The largest error of any attention map, read-outs among them: how far map · v is from what the module went on with, beside the
        largest number of that."""
        return max(attention.error for attention in (*self.attentions, *self.anatomy.read_outs))


class Tracing:
    """What a `tracing` block hands out: its `trace` is there once the model has run."""

    def __init__(self) -> None:
        self._trace: Trace | None = None

    @property
    def trace(self) -> Trace:
        """The trace of the block's forward.

        Raises:
            LensError: the model has not run yet.
        """
        if self._trace is None:
            raise LensError(
                Text(
                    "there is no trace yet: call the model, once, inside of the block",
                    "トレースはまだありません。withブロックの中でモデルを1回呼び出してください",
                )
            )
        return self._trace

    def _take(self, image: Tensor, tape: Tape, answer: object) -> None:
        self._trace = _trace_of(image, tape, answer)


@contextmanager
def tracing(model: nn.Module) -> Iterator[Tracing]:
    """Traces the one forward that is made in a `with` block, however the model is called there.

        with vitscope.tracing(model) as traced:
            scores = model(image, mask=mask)
        traced.trace["block03/attention"]

    In the block the model is in evaluation mode; in the forward nothing is differentiated, and the image is a copy. Afterwards mode, hooks
    and random state are as they were, also when the model or the block raises, which passes through.

    Args:
        model: any ViT; it is given one image, 1 C H W, by position or by keyword, among whatever else it takes.

    Raises:
        LensError: not exactly one forward in the block, a batch of several, or what `trace` refuses; the message says what.
    """
    traced = Tracing()
    with one_forward(model, traced._take):
        yield traced


def trace(model: nn.Module, image: Tensor) -> Trace:
    """Runs a model once, in evaluation mode, on one image, and keeps every intermediate.

    Args:
        model: any ViT that takes an image alone (others: `tracing`); its mode, hooks, gradients and random state are left as they are.
        image: C H W or 1 C H W, as the model takes it (normalised, on its device).

    Raises:
        LensError: the model is no ViT, it fails on the image, or what it does cannot be followed or proved; the message says what, and an
            error of the model's own is its cause.
    """
    _refuse_image(image)
    caught = list[tuple[Tensor, Tape, object]]()
    with one_forward(model, lambda *made: caught.append(made)):
        try:
            model(image[None] if image.ndim == 3 else image)
        except VitscopeError:
            raise
        except Exception as error:
            raise LensError(why_it_failed(model, image, error)) from error
    return _trace_of(*caught[0])


def _trace_of(image: Tensor, tape: Tape, answer: object) -> Trace:
    """All that is found on the tape of one forward of an image (1 C H W, as it was before the model ran), whatever its user's modes are."""
    with torch.no_grad(), torch.autocast(image.device.type, enabled=False):
        return _found_on(tape, image, scores_of(answer))


def _found_on(tape: Tape, image: Tensor, scores: Tensor) -> Trace:
    attentions = find_attentions(tape)
    refuse_not_finite(tape, scores)
    anatomy = find_anatomy(tape, scores, with_heads_together(tape, attentions))
    attentions = tuple(block.attention for block in anatomy.blocks)
    layout = find_layout(tape, anatomy)
    notes = (*anatomy.notes, *layout.notes, *_spans(attentions, len(layout.patch_of_token)))
    named = dict(_named(image, tape, anatomy, layout))
    reads = read_tokens(tape, anatomy)
    class_token = find_class_token(tape, anatomy, layout, reads)
    return Trace(named, attentions, anatomy, layout, reads, class_token, tape, notes)


def scores_of(answer: object) -> Tensor:
    """The class scores (1 Y) in what a model gave back: a tensor, something with `logits`, or the first of a tuple or mapping that fits.

    Raises:
        LensError: there is none.
    """
    candidates = [answer, getattr(answer, "logits", None)]
    if isinstance(answer, Mapping):
        candidates.append(answer.get("logits"))
    if isinstance(answer, tuple | list):
        candidates += list(answer)
    scores = next((x for x in candidates if isinstance(x, Tensor) and x.ndim == 2), None)
    if scores is None:
        kind = type(answer).__name__
        what = (
            Text(f"tensor of shape {tuple(answer.shape)}", f"形状{tuple(answer.shape)}のテンソル")
            if isinstance(answer, Tensor)
            else Text(f"{kind} without scores", f"スコアを含まない{kind}")
        )
        raise LensError(
            Text(
                f"the model gives back a {what.en}, expected scores of shape (1, classes), by themselves or as logits",
                f"モデルが返したのは{what.ja}です。形状(1, クラス数)のスコアを、そのままか、logitsとして返す必要があります",
            )
        )
    return scores


def _refuse_image(image: object) -> None:
    if not isinstance(image, Tensor):
        raise LensError(
            Text(
                f"trace takes an image as a tensor (C H W), got a {type(image).__name__}; make it one with the model's own preprocessing",
                f"traceには画像をテンソル（C H W）で渡してください。渡されたのは{type(image).__name__}です。モデルの前処理で変換してください",
            )
        )
    if image.ndim not in (3, 4) or (image.ndim == 4 and len(image) != 1):
        raise LensError(
            Text(
                f"trace takes one image (C H W, or 1 C H W), got {tuple(image.shape)}",
                f"traceに渡せるのは1枚の画像（C H Wまたは1 C H W）です。渡されたテンソルの形状は{tuple(image.shape)}です",
            )
        )


def _spans(attentions: tuple[Attention, ...], tokens: int) -> Iterator[Text]:
    """Says where tokens meet only themselves.

    Raises:
        LensError: an attention in windows.
    """
    for number, attention in enumerate(attentions):
        if not attention.over_keys:
            yield Text(
                f"block {number}: the rows of its attention do not sum to one (the softmax runs along the queries, or the map is scaled)",
                f"ブロック{number}: アテンションの各行の和が1になっていません（softmaxがクエリ方向にかかっているか、後から定数倍されています）",
            )
        asked, answering = attention.map.shape[-2:]
        if asked == answering == 1 and tokens > 1:
            yield Text(
                f"block {number}: no token meets another; the attention runs along an axis that one image has only once (the batch)",
                f"ブロック{number}: トークンどうしが参照し合っていません。アテンションが、画像1枚では長さ1の軸（バッチ）に沿って計算されています",
            )
        elif (asked, answering) != (tokens, tokens):
            raise LensError(
                Text(
                    f"the attention of {attention.path or 'the model'} spans {answering} of {tokens} tokens with {asked} queries "
                    "(windows, or fewer queries than tokens); "
                    "the lens is for ViTs in which every token may look at every other",
                    f"{attention.path or 'モデル本体'}のアテンションは、{tokens}個のトークンに対してキーが{answering}個、クエリが{asked}個です"
                    "（ウィンドウ分割か、トークンより少ないクエリ）。追跡できるのは、すべてのトークンが互いを参照できるViTだけです",
                )
            )


def _named(image: Tensor, tape: Tape, anatomy: Anatomy, layout: Layout) -> Iterator[tuple[str, Tensor]]:
    yield "image", image[0]
    if layout.pixels is not None:
        yield "patches", image.flatten()[layout.pixels]
    embedded, made = tape.value(anatomy.embedded), anatomy.patch_embedding
    is_map = made.name in CONVOLUTIONS | POOLINGS and embedded.shape == made.outputs[0].shape
    yield "patch_embedding", embedded[0].flatten(1).T if is_map else as_tokens(embedded)
    for name, call in (("with_class", anatomy.with_class), ("with_position", anatomy.with_position)):
        if call is not None:
            yield name, as_tokens(tape.value(call))
    for number, block in enumerate(anatomy.blocks):
        here = f"block{number:02}/"
        attention = block.attention
        yield from ((here + name, getattr(attention, name)) for name in ("q", "k", "v"))
        yield (
            here + "attention",
            attention.map if len(layout.patch_of_token) == attention.map.shape[-1] else _alone(attention, layout),
        )
        for name, call in (("after_attention", block.after_attention), ("after_mlp", block.after_mlp)):
            if call is not None:
                yield here + name, as_tokens(tape.value(call))
    if anatomy.final_norm is not None:
        yield "final_norm", as_tokens(tape.value(anatomy.final_norm))
    if len(anatomy.head) == 1:
        yield "pooled", as_tokens(tape.value(anatomy.head[0].sources[-2]))[0]
    logits = tape.value(anatomy.logits)[0]
    yield "logits", logits
    yield "probabilities", logits.float().softmax(dim=-1)


def _alone(attention: Attention, layout: Layout) -> Tensor:
    """The map, K T T, of an attention in which each token meets nothing but itself."""
    tokens = len(layout.patch_of_token)
    return torch.diag_embed(attention.map.reshape(tokens, -1).T)
