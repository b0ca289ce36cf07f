"""What may be done to training images, as settings: a mapping in (YAML, `--set`), a frozen spec out. No torch.

Everything is off by default. The order in which the steps run is fixed and is the order of the fields.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from vitscope._core.spec import Spec
from vitscope._core.text import Lang, Text


def _switch(value: Any) -> Any:
    """`true` stands for the usual probability of one half, `false` for never."""
    return (0.5 if value else 0.0) if isinstance(value, bool) else value


Probability = Annotated[float, Field(ge=0, le=1)]
AreaFraction = Annotated[float, Field(gt=0, le=1)]


class RandAugmentSpec(Spec):
    """RandAugment (Cubuk et al. 2020, section 3): an image goes through `n` operations, drawn with replacement.

    `m` is their common strength, 0 to 30. `table` says what it means. `published` is the table of the published
    CIFAR-10 run, slips included: its translations are pixels of a 224-pixel image, so that at `m` 14 a 32-pixel
    image goes blank (about 23 % of them do). `fitted` is ours: lengths are fractions of the image's side, every
    operation with a direction takes either at random, and strength 0 changes nothing but for the three operations
    that have no strength.
    """

    n: Annotated[int, Field(ge=1, le=16, strict=True)] = 2
    m: Annotated[int, Field(ge=0, le=30, strict=True)] = 14
    table: Literal["published", "fitted"] = "fitted"


class AugmentSpec(Spec):
    """What is done to a batch of training images, in this order; everything is off by default.

    - `rand_augment`: see `RandAugmentSpec`.
    - `crop`: pixels of black added on each side before a part of the image's own size is cut out at random; 0 is off.
    - `random_resized_crop`: smallest and largest fraction of the image's area that is cut out, with a side ratio
      between 3/4 and 4/3, and scaled back to the image's size, bilinear. Szegedy et al. (2015, section 6) cut from
      the original; here the image is already fitted to the model's size, so that a small cut is enlarged from few
      pixels and what the fitting took off is never seen. Excludes `crop`.
    - `flip`: probability that an image is mirrored left to right; `true` is 0.5.
    - `colour_jitter`: brightness, contrast and colour are each scaled by a factor from 1 - x to 1 + x, drawn per image.
    - `random_erasing`: probability that a rectangle (2 to 33 % of the area) is covered with one random colour
      (Zhong et al. 2020, section 3; they fill every pixel at random).
    - `mixup`: α of Beta(α, α), from which the weight of an image against its partner is drawn (Zhang et al. 2018).
    - `cutmix`: α of Beta(α, α), from which the share of the image that is kept is drawn (Yun et al. 2019).
    - `switch_probability`: with both on, the probability that a batch gets `cutmix` and not `mixup`.
    - `mix_probability`: probability that a batch is mixed at all.
    """

    rand_augment: RandAugmentSpec | None = None
    crop: Annotated[int, Field(ge=0, strict=True)] = 0
    random_resized_crop: tuple[AreaFraction, AreaFraction] | None = None
    flip: Annotated[Probability, BeforeValidator(_switch)] = 0.0
    colour_jitter: Annotated[float, Field(ge=0, le=1)] = 0.0
    random_erasing: Probability = 0.0
    mixup: Annotated[float, Field(ge=0)] = 0.0
    cutmix: Annotated[float, Field(ge=0)] = 0.0
    switch_probability: Probability = 0.5
    mix_probability: Probability = 1.0

    @model_validator(mode="after")
    def _fits_together(self) -> AugmentSpec:
        if self.random_resized_crop is not None:
            low, high = self.random_resized_crop
            if low > high:
                raise ValueError(f"random_resized_crop is ({low}, {high}), expected the smaller area first")
            if self.crop:
                raise ValueError("crop and random_resized_crop are two ways to cut an image; set one of them")
        return self

    @property
    def mixes(self) -> bool:
        """Whether targets are soft (B×Y) and not class indices (B)."""
        return self.mixup > 0 or self.cutmix > 0

    def describe(self, lang: Lang = "en") -> str:
        """The steps that are on, in their order, in one line."""
        steps: list[Text] = []
        if self.rand_augment is not None:
            r = self.rand_augment
            table = Text(f"{r.table} table", "公開された表" if r.table == "published" else "画像に合わせた表")
            steps.append(
                Text(
                    f"RandAugment (N = {r.n}, M = {r.m}, {table.en})",
                    f"RandAugment（N = {r.n}、M = {r.m}、{table.ja}）",
                )
            )
        if self.crop:
            steps.append(Text(f"random crop (zero padding {self.crop})", f"ランダムクロップ（余白 {self.crop}）"))
        if self.random_resized_crop is not None:
            low, high = self.random_resized_crop
            steps.append(
                Text(
                    f"random resized crop ({low:.0%} to {high:.0%} of the area)",
                    f"拡大縮小つきランダムクロップ（面積の {low:.0%}〜{high:.0%}）",
                )
            )
        if self.flip:
            steps.append(Text(f"horizontal flip ({self.flip:g})", f"左右反転（確率 {self.flip:g}）"))
        if self.colour_jitter:
            steps.append(Text(f"colour jitter (± {self.colour_jitter:g})", f"色の変動（± {self.colour_jitter:g}）"))
        if self.random_erasing:
            steps.append(
                Text(f"random erasing ({self.random_erasing:g})", f"ランダム消去（確率 {self.random_erasing:g}）")
            )
        steps.append(Text("normalise", "正規化"))
        if self.mixes:
            steps.append(self._mixing())
        return ("、" if lang == "ja" else ", ").join(step[lang] for step in steps)

    def _mixing(self) -> Text:
        given = (("mixup", self.mixup), ("cutmix", self.cutmix))
        on = [(name, alpha) for name, alpha in given if alpha]
        text = Text(
            " or ".join(f"{name} (α = {alpha:g})" for name, alpha in on),
            "または".join(f"{name}（α = {alpha:g}）" for name, alpha in on),
        )
        if len(on) == 2:
            share = f"{self.switch_probability:.0%}"
            text = Text(f"{text.en}, cutmix in {share}", f"{text.ja}、うち cutmix は {share}")
        if self.mix_probability < 1:
            rate = f"{self.mix_probability:.0%}"
            text = Text(f"{text.en}, {rate} of batches", f"{text.ja}、バッチの {rate}")
        return text
