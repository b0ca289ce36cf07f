"""Advice from a survey of growth: points in, sentences in both languages out, each from closed-form numbers and, where there are, measured ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vitscope._core.text import Text
from vitscope.model.size import activation_bytes
from vitscope.model.spec import ViTSpec

if TYPE_CHECKING:
    from vitscope.bench.growth import GrowthPoint, GrowthResult

GAIN_WORTH_IT = 1.1
"""A doubled batch that gains less than this is called no gain."""


def advice_of(result: GrowthResult) -> tuple[Text, ...]:
    """The sentences, from the most useful on; one whose numbers were not measured is left out."""
    sentences: list[Callable[[GrowthResult], Text | None]] = [
        attention_by_patch,
        break_even,
        patch_measured,
        _along("image_size", "an image side", "画像の一辺"),
        _along("depth", "depth", "深さ"),
        _along("dim", "width", "幅"),
        batch_measured,
        memory_measured,
    ]
    return tuple(said for sentence in sentences if (said := sentence(result)) is not None)


def attention_by_patch(result: GrowthResult) -> Text:
    """The share of the maps for each patch size, closed form."""
    from vitscope.bench.growth import map_share

    def share(patch: int) -> float:
        return map_share(_with_patch(result.base, patch))

    side = result.base.image_size[0]
    finest, usual = _patches(result)
    if share(finest) > 0.5:
        judged = Text(
            "at patch {finest} attention dominates, and a patch of half the side would make its FLOPs 16 times as many; "
            "take a larger patch or a smaller image first.",
            "パッチ {finest} ではattentionが大半で、一辺をさらに半分にするとその計算量は16倍になります。"
            "まずパッチを大きくするか画像を小さくしてください。",
        )
    else:
        judged = Text(
            "the linear layers dominate, and a quicker attention would gain little.",
            "大半は線形層で、attentionを速くしても効果はわずかです。",
        )
    values = {"side": side, "finest": finest, "usual": usual, "many": share(finest), "few": share(usual)}
    said = Text(
        "At {side} with patch {finest} attention takes {many:.0%} of the FLOPs, with patch {usual} {few:.0%}: ",
        "画像 {side}・パッチ {finest} ではattentionがFLOPsの {many:.0%}、パッチ {usual} では {few:.0%} を占めます。",
    ).format(**values)
    return Text(said.en + judged.en, said.ja + judged.ja).format(finest=finest)


def _patches(result: GrowthResult) -> tuple[int, int]:
    axis = next((axis for axis in result.surveyed if axis.key == "patch_size"), None)
    usual = result.base.patch_size[0]
    return (axis.values[-1] if axis else max(1, usual // 4)), usual


def _with_patch(spec: ViTSpec, patch: int) -> ViTSpec:
    return spec.changed(patch_size=patch)


def break_even(result: GrowthResult) -> Text:
    """From how many tokens the maps cost as much as all else in a block: 4 T² D = 8 T D² + 4 T D M."""
    spec = result.base
    return Text(
        "In a block of width {dim} the attention maps cost as much as all its linear layers from {tokens:,} tokens on (2 D + M); "
        "at {side} with patch {patch} there are {here:,}.",
        "幅 {dim} のブロックでは、トークン数が {tokens:,}（2 D + M）になるとattentionマップの計算量が線形層の合計に並びます。"
        "画像 {side}・パッチ {patch} では {here:,} トークンです。",
    ).format(
        dim=spec.dim,
        tokens=2 * spec.dim + spec.mlp_width,
        side=spec.image_size[0],
        patch=spec.patch_size[0],
        here=spec.tokens,
    )


def patch_measured(result: GrowthResult) -> Text | None:
    """What halving the patch cost in FLOPs and in time."""
    points = {point.value: point for point in result.of("patch_size", "train")}
    usual = result.base.patch_size[0]
    if usual not in points or usual // 2 not in points:
        return None
    before, after = points[usual], points[usual // 2]
    return Text(
        "Halving the patch from {a} to {b} made {n:.1f} times the tokens, {flops:.1f} times the FLOPs and {time:.1f} times the training time.",
        "パッチを {a} から {b} に半減すると、トークン数は {n:.1f} 倍、FLOPsは {flops:.1f} 倍、学習時間は {time:.1f} 倍になりました。",
    ).format(
        a=usual,
        b=usual // 2,
        n=after.tokens / before.tokens,
        flops=after.flops_per_image / before.flops_per_image,
        time=after.seconds_per_image / before.seconds_per_image,
    )


def _along(axis: str, en: str, ja: str) -> Callable[[GrowthResult], Text | None]:
    """From the base to the largest value measured: FLOPs against time. Why they differ is not said: it was not measured."""

    def sentence(result: GrowthResult) -> Text | None:
        points = result.of(axis, "train")
        base = next((a.base for a in result.surveyed if a.key == axis), None)
        start = next((point for point in points if point.value == base), None)
        if start is None or points[-1].value == base:
            return None
        end = points[-1]
        flops, time = _ratio(start, end)
        values = {"a": start.value, "b": end.value, "flops": flops, "time": time}
        said = Text(
            f"From {en} of {{a}} to {{b}} an image costs {{flops:.1f}} times the FLOPs and took {{time:.1f}} times as long to train on: ",
            f"{ja}を {{a}} から {{b}} にすると、画像1枚のFLOPsは {{flops:.1f}} 倍、学習時間は {{time:.1f}} 倍でした。",
        ).format(**values)
        each = Text("{less:.2f} times as long for each FLOP", "FLOPあたりでは {less:.2f} 倍").format(less=time / flops)
        path = Text("", "")
        if start.setting.split(" ")[0] != end.setting.split(" ")[0]:
            path = Text(
                "; attention went from the {a} to the {b} path", "で、attentionの経路は {a} から {b} に変わりました"
            ).format(a=start.setting.split(" ")[0], b=end.setting.split(" ")[0])
        return Text(said.en + each.en + path.en + ".", said.ja + each.ja + (path.ja or "です") + "。")

    return sentence


def _ratio(start: GrowthPoint, end: GrowthPoint) -> tuple[float, float]:
    return end.flops_per_image / start.flops_per_image, end.seconds_per_image / start.seconds_per_image


def batch_measured(result: GrowthResult) -> Text | None:
    """From which batch on a larger one gains nothing to speak of."""
    points = result.of("batch", "train")
    if len(points) < 2:
        return None
    fast = max(points, key=lambda point: 1 / point.seconds_per_image)
    enough = next(p for p in points if p.seconds_per_image <= GAIN_WORTH_IT * fast.seconds_per_image)
    return Text(
        "In training, batch {one} takes {first:.3g} images/s and the best, batch {best}, {most:.3g}; "
        "from batch {enough} on a larger one gains less than 10%.",
        "学習ではバッチ {one} で毎秒 {first:.3g} 枚、最良のバッチ {best} で {most:.3g} 枚です。"
        "バッチ {enough} 以上では、さらに大きくしても速度の向上は 10% 未満です。",
    ).format(
        one=points[0].value,
        first=1 / points[0].seconds_per_image,
        best=fast.value,
        most=1 / fast.seconds_per_image,
        enough=enough.value,
    )


def memory_measured(result: GrowthResult) -> Text | None:
    """What another image costs in memory, measured over the batches, beside the closed form."""
    points = [point for point in result.of("batch", "train") if point.peak_bytes is not None]
    if len(points) < 2 or points[0].peak_bytes is None or points[-1].peak_bytes is None:
        return None
    a_image = (points[-1].peak_bytes - points[0].peak_bytes) / (points[-1].value - points[0].value)
    numbers = 2 if points[0].precision == "bf16" else 4
    return Text(
        "Each image more in a batch took {measured:.1f} MiB of memory in training; by the closed form {closed:.1f} MiB are kept for "
        "the backward pass in {precision}.",
        "学習時、バッチの画像が1枚増えるごとにメモリは {measured:.1f} MiB 増えました。"
        "計算上、逆伝播のために1枚あたり {closed:.1f} MiB（{precision}）を保持します。",
    ).format(
        measured=a_image / 2**20,
        closed=activation_bytes(result.base) * numbers / 4 / 2**20,
        precision=points[0].precision,
    )
