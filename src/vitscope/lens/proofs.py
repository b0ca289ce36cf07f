"""How the parts of a trace are known to be right, stage by stage: each proof is an experiment on the model's own operations, with its error.

A trace in, sentences with numbers out. Patches and attention maps are proved while a trace is made (`layout`, `attention`); here stand the
others, and those two in words.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.attention import TOLERANCE
from vitscope.lens.operations import CONVOLUTIONS, PRODUCTS, factors
from vitscope.lens.tape import Call
from vitscope.lens.trace import Trace


@dataclass(frozen=True)
class Proof:
    """One thing that was checked: `error` is what was found, at most `tolerance` where it holds; None where it is yes or no."""

    text: Text
    error: float | None = None
    tolerance: float | None = None
    holds: bool = True

    def to_dict(self) -> dict[str, Any]:
        return {
            "text": self.text.to_dict(),
            "error": self.error,
            "tolerance": self.tolerance,
            "holds": self.holds,
        }


def _measured(text: Text, error: float, trace: Trace) -> Proof:
    tolerance = TOLERANCE.get(trace["image"].dtype, 1e-5)
    return Proof(text, error, tolerance, error <= tolerance)


def embedding_is_linear(trace: Trace) -> Proof | None:
    """Whether the tokens are the module's own weights times the pixels of each patch, up to one bias for all.

    None where the embedding is no such product, pixels are normalised before it, or one patch alone does not tell weights from bias.
    """
    pixels, call = trace.layout.pixels, trace.anatomy.patch_embedding
    weights = [s.tensor for s in call.sources if not trace.tape.is_of_image(s) and s.tensor.ndim > 1]
    token_of = trace.layout.token_of_patch
    if pixels is None or len(weights) != 1 or call.name not in PRODUCTS | CONVOLUTIONS:
        return None
    if len(pixels) < 2 or sorted(token_of) != list(range(len(pixels))):
        return None
    patches = trace["image"].flatten()[pixels[sorted(token_of, key=token_of.__getitem__)]]  # as their tokens stand
    weight, given = weights[0].detach().double(), trace.tape.value(call)
    if call.name in PRODUCTS:
        flat, tokens = weight, as_tokens(given).double()
        as_it_was_cut = _equal(as_tokens(trace.tape.value(factors(call)[0])), patches)
    else:
        flat, tokens = weight.flatten(1).T, given[0].flatten(1).T.double()
        as_it_was_cut = _equal(trace.tape.value(call.sources[0])[0], trace["image"])
    if not as_it_was_cut:
        return None
    left = tokens - patches.double() @ flat
    error = float((left - left.mean(dim=0)).abs().max() / tokens.abs().max().clamp(min=1e-30))
    words = Text(
        "The module's own weights times the pixels of each patch, computed again outside of it, give its tokens up to one bias for all.",
        "モジュール自身の重みと各パッチの画素の積を別途計算し、全パッチ共通のバイアスを除いてモジュールのトークンと一致することを確かめました。",
    )
    return _measured(words, error, trace)


def extra_tokens_ignore_the_image(trace: Trace) -> Proof | None:
    """Whether the tokens that join the patches are the same for another image; None where none join."""
    call, extra = trace.anatomy.with_class, trace.layout.extra
    if call is None or not extra:
        return None
    here, there = as_tokens(trace.tape.value(call)), as_tokens(trace.tape.play({None: _other(trace)}, call))
    if len(here) <= max(extra):
        return None
    words = Text(
        "The tokens that join are the same for another image (noise), so they are learned and hold nothing of the picture yet.",
        "加わるトークンは別の画像（ノイズ）でも変わりません。学習された値であり、この時点では画像の情報を含んでいません。",
    )
    return _measured(words, _apart(here[list(extra)], there[list(extra)]), trace)


def position_ignores_the_image(trace: Trace) -> Proof | None:
    """Whether what is added for the place is the same for another image; None where nothing is added."""
    call = trace.anatomy.with_position
    if call is None:
        return None
    before = next((s.call for s in call.sources if s.call is not None and trace.tape.is_of_image(s)), None)
    if before is None:
        return None
    other: dict[Call | None, Tensor] = {None: _other(trace)}
    sums = [as_tokens(x).detach().double() for x in (trace.tape.value(call), trace.tape.play(other, call))]
    tokens = [as_tokens(x).detach().double() for x in (trace.tape.value(before), trace.tape.play(other, before))]
    apart = ((sums[0] - tokens[0]) - (sums[1] - tokens[1])).abs().max()
    size = max(float(each.abs().max()) for each in sums)  # the differences are rounded as the sums are
    words = Text(
        "What is added is the same for another image (noise): it depends on the place alone.",
        "足される値は別の画像（ノイズ）でも変わりません。位置だけで決まっています。",
    )
    return _measured(words, float(apart) / max(size, 1e-30), trace)


def maps_give_what_the_module_gave(trace: Trace) -> Proof:
    """The proof that every attention of a trace has passed; worst error over all blocks."""
    worst = max(trace.attentions, key=lambda attention: attention.error)
    words = Text(
        f"The maps of all {len(trace.attentions)} layers were computed again from the module's own q and k; "
        "map · v gives what the module itself went on with.",
        f"{len(trace.attentions)}層すべてのマップをモジュール自身のqとkから計算し直し、マップ・vがモジュールの実際の出力と一致することを確かめました。",
    )
    return Proof(words, worst.error, worst.tolerance, worst.error <= worst.tolerance)


def rows_sum_to_one(trace: Trace) -> Proof:
    """How far the rows of any map are from a sum of one."""
    error = max(float((a.map.double().sum(dim=-1) - 1).abs().max()) for a in trace.attentions)
    is_half = any(a.output.dtype in (torch.bfloat16, torch.float16) for a in trace.attentions)
    holds = all(attention.over_keys for attention in trace.attentions)
    words = (
        Text(
            "Each row of each map sums to one: what a token takes from others are shares.",
            "どのマップも各行の和は1です。各トークンが他のトークンから受け取る割合を表しています。",
        )
        if holds
        else Text(
            "Rows of these maps do NOT sum to one, so they are no shares: the softmax runs along another axis, or the map is scaled behind it.",
            "これらのマップの行の和は1では「ありません」。割合とはみなせません。softmaxの軸が違うか、後から定数倍されています。",
        )
    )
    return Proof(words, error, 2e-2 if is_half else 1e-3, holds)


def read_tokens(trace: Trace) -> Proof | None:
    """Which tokens the scores are read from, by changing each; None where that was not found."""
    read, count = trace.reads, len(trace.layout.patch_of_token)
    if not read:
        return None
    which = (
        f"0 … {count - 1}" if len(read) == count else ", ".join(map(str, read[:4])) + (" …" if len(read) > 4 else "")
    )
    words = Text(
        f"Each of the {count} tokens was changed by itself. What the head is given hangs on {len(read)} of them (number {which}), "
        "and on no other.",
        f"{count}個のトークンを1つずつ変えて確かめました。分類ヘッドへの入力が変わるのは{len(read)}個（番号{which}）だけで、他は影響しません。",
    )
    return Proof(words)


def scores_hang_on_the_image(trace: Trace) -> Proof:
    """Whether the scores change at all with the picture: against an image of zeros, this one upside down, and noise."""
    logits = trace["logits"].detach().double()
    change = _change_with_image(trace, trace.anatomy.logits)
    spread = float(logits.max() - logits.min())
    if change > 1e-6 * float(logits.abs().max()) and change > 0:
        words = Text(
            f"The scores hang on the picture: zeros, this one upside down, or noise in its place moves them by up to {change:.3g} "
            f"(they span {spread:.3g}).",
            f"スコアは画像に依存しています。すべて0の画像、上下反転した画像、ノイズに替えると、最大で{change:.3g}変わります（スコアの幅は{spread:.3g}）。",
        )
    elif _head_is_deaf(trace):
        words = Text(
            "The scores are the same for any picture, since the head gives the same whatever it is given (zeros, as it may before training); "
            "what it is given does change with the picture.",
            "どの画像でもスコアは同じです。分類ヘッドが、入力によらず同じ値（学習前によくある0など）を返すためです。ヘッドへの入力そのものは画像によって変わります。",
        )
    else:
        words = Text(
            "The scores do NOT depend on the picture: zeros, this one upside down, or noise give the same scores to rounding error. "
            "The model cannot learn what is in an image.",
            "スコアは画像に依存していません。すべて0の画像でも、上下反転した画像でも、ノイズでも、丸め誤差の範囲で同じです。このモデルは画像の内容を学習できません。",
        )
        return Proof(words, change, None, holds=False)
    return Proof(words, change)


def _head_is_deaf(trace: Trace) -> bool:
    """Whether the head gives the same though what it is given changes with the image."""
    given = [source.call for head in trace.anatomy.head for source in head.sources if trace.tape.is_of_image(source)]
    changes = [_change_with_image(trace, call) for call in given if call is not None]
    return max(changes, default=0.0) > 0 and not any(_change_with_image(trace, head) for head in trace.anatomy.head)


def _change_with_image(trace: Trace, call: Call) -> float:
    """The largest change of what a call gives, for other images in the image's place."""
    image, here = trace["image"][None], trace.tape.value(call).detach().double()
    with torch.no_grad():
        others = (torch.zeros_like(image), image.flip(-2).contiguous(), _other(trace))
        return max(float((here - trace.tape.play({None: o}, call).detach().double()).abs().max()) for o in others)


def _other(trace: Trace) -> Tensor:
    """An image that has nothing in common with this one, be it all of one colour."""
    return torch.randn(trace["image"][None].shape, generator=torch.Generator().manual_seed(0)).to(trace["image"])


def _apart(one: Tensor, other: Tensor) -> float:
    one, other = one.detach().double(), other.detach().double()
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-30))


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.double(), other.double())


def class_token_meets_patches(trace: Trace) -> Proof | None:
    """How much the token that is read takes from patches, over all blocks and heads; None where the read token is a patch itself."""
    token = trace.class_token
    patches = sorted(trace.layout.token_of_patch.values())
    if token is None or not patches:
        return None
    maps = [trace[f"block{number:02}/attention"].double() for number in range(len(trace.attentions))]
    most = max(float(m[:, token, patches].sum(dim=-1).max()) for m in maps)
    holds = most > 0
    words = (
        Text(
            f"The class token takes from the patches: up to {100 * most:.1f} % of its attention in one head.",
            f"クラストークンはパッチから情報を受け取っています（1つのヘッドで最大{100 * most:.1f} %）。",
        )
        if holds
        else Text(
            "In NO block and NO head does the class token take anything from a patch: it never sees the image, and the scores are read from it.",
            "クラストークンは、どの層のどのヘッドでもパッチから何も受け取っていません。画像を一度も「見ない」まま、そのトークンからスコアが読み出されています。",
        )
    )
    return Proof(words, most, None, holds)
