"""Whether each pixel reaches the scores. In goes a patient, out come findings with a map of the image."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.forward.shapes import refuse_not_finite
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.blindness import is_blind
from vitscope.doctor.reading.read_out import one_patch_read
from vitscope.doctor.reading.unread import channels_told, fitting, takes_all_channels, where

ENOUGH = 32
"""Pictures after which a pixel without any gradient is one that is never read (8 for a large model)."""
TOGETHER = 8
"""Pictures that are shown at once where one alone has no gradient, because what a batch has in common is taken off (4 for a large model)."""
LARGE_SHARE = 0.05
"""Of the image's area, from which it is an error: a border of a pixel may be meant."""

UNREAD_PIXELS = Fault(
    "part-of-the-image-never-read",
    "M24",
    "pixel-coverage",
    "error",
    Text(
        "What is in these pixels cannot be learned. The model trains, to a lower ceiling, and nothing says why.",
        "この画素にある情報は学習できません。学習は進みますが到達できる正解率が下がり、その理由はどこにも表示されません。",
    ),
    Text(
        "let the patch size divide the image size (resize or pad the images), build the model for the size that it is given, and check it",
        "画像サイズをパッチサイズで割り切れるようにし（リサイズまたはパディング）、モデルを実際の画像サイズに合わせて構築し、確認してください",
    ),
    "assert image.shape[-1] % patch_size == 0",
    explains=("overfit",),
)
UNREAD_CHANNEL = Fault(
    "channel-never-read",
    "M24",
    "pixel-coverage",
    "warning",
    Text(
        "What only these colours show cannot be learned.",
        "この色チャネルだけに現れる情報は学習できません。",
    ),
    Text(
        "give the patch embedding as many channels as the images have",
        "パッチ埋め込みのチャネル数を画像に合わせてください",
    ),
    "nn.Conv2d(channels, dim, patch_size, stride=patch_size)",
)
_SLICED = Text(
    "look for what leaves them out in front of the patch embedding, which takes as many channels as the images have: a slice such as x[:, :1], or a "
    "factor or weights of zero",
    "パッチ埋め込みは画像と同じ数のチャネルを受け取っています。その手前でチャネルが抜け落ちる箇所（x[:, :1]のようなスライスや、ゼロの係数・重み）を"
    "探してください",
)


def pixel_coverage(patient: Patient) -> Iterator[Finding]:
    """Which pixels have no influence on the scores.

    Does: the gradient of a random projection of the scores for the pixels of up to 32 pictures, one by one (where that gives nothing, in batches); a
    pixel is unread when it is exactly zero for all of them and when noise there changes no score. Noise in the place of the tokens behind the last
    block, half by half, shows which of them are read.
    Finds: part of the image never read (M24): patches that do not divide the image, a model built for another size, a slice; a channel never read; a
    single patch read out where a class token was joined.
    Must not accuse: a border of few pixels (a warning, for a crop may be meant); a model that is blind to all of it, which `input-blindness` names;
    means, registers, class tokens wherever they stand, models that join no token.
    """
    refuse_not_finite(patient)
    if is_blind(patient) and not _some(patient):
        raise Skipped(_BLIND)
    seen = _seen(patient, patient.batch or 1)
    if not bool(seen.any()) and patient.batch is None:
        seen = _seen(patient, 4 if patient.is_large else TOGETHER)
    if not bool(seen.any()):
        raise Skipped(_WITHOUT_GRADIENT)
    yield from one_patch_read(patient)
    unread = ~seen
    if not bool(unread.any()) or not _changes_nothing(patient, unread):
        return
    pixels = unread.all(dim=0)
    share = float(pixels.double().mean())
    if share > 0:
        height, width = pixels.shape
        rows, columns = pixels.all(dim=1), pixels.all(dim=0)
        yield fitting(UNREAD_PIXELS, patient, pixels).found(
            Text(
                f"{100 * share:.1f} % of the image never reaches the scores{where(pixels).en}: noise there changes nothing.",
                f"画像の{100 * share:.1f} %がスコアにまったく影響しません{where(pixels).ja}。そこをノイズに替えても何も変わりません。",
            ),
            {
                "share_never_read": share,
                "pixels_never_read": int(pixels.sum()),
                "height": height,
                "width": width,
                "whole_rows": int(rows.sum()),
                "whole_columns": int(columns.sum()),
            },
            severity="error" if share > LARGE_SHARE else "warning",
            picture=pixels.float(),
        )
    channels = [number for number, each in enumerate(unread) if bool(each.all())]
    if channels and len(channels) < len(unread):
        fault = replace(UNREAD_CHANNEL, advice=_SLICED, code="") if takes_all_channels(patient) else UNREAD_CHANNEL
        yield fault.found(
            channels_told(channels, len(unread)), {"channels_never_read": channels, "channels": len(unread)}
        )


_BLIND = Text(
    "no gradient of any pixel arrives, so there is no part of the image to tell from another (see input-blindness)",
    "どの画素の勾配も届かないため、画像のどの部分が読まれていないかを区別できません（input-blindnessを参照）",
)
_WITHOUT_GRADIENT = Text(
    "the scores follow the picture, but no gradient of any pixel arrives (on the way it is cut off, or numbers are rounded), so there is no part of "
    "the image to tell from another",
    "スコアは画像に応じて変わりますが、どの画素の勾配も届かない（途中で切り離されているか、値が丸められている）ため、画像のどの部分が読まれていないかを"
    "区別できません",
)


def _some(patient: Patient) -> bool:
    """Whether a model whose scores start out as the same for all pictures has a gradient once it has taken a few steps."""
    return not patient.is_trained and not is_blind(patient.trained)


def _seen(patient: Patient, size: int) -> Tensor:
    """C H W: whether a pixel of any picture had a gradient."""
    model = patient.trained.model if is_blind(patient) else patient.model
    images = torch.cat([patient.images, patient.noise(ENOUGH, seed=2)])
    seen = torch.zeros_like(patient.images[0], dtype=torch.bool)
    for begin in range(0, 8 if patient.is_large else ENOUGH, size):
        given = images[begin : begin + size]
        if len(given) < size:
            break
        gradient = patient.image_gradient(given, model, seed=begin)
        seen |= ((gradient != 0) & gradient.isfinite()).any(dim=0)  # a batch of one, divided by its spread, gives NaN
        if bool(seen.all()):
            break
    return seen


def _changes_nothing(patient: Patient, unread: Tensor) -> bool:
    """Whether noise in these places leaves the scores as they are: a gradient may be zero where an influence is not (rounding)."""
    images = patient.images[: patient.batch or 2]
    other = torch.where(unread, patient.noise(len(images), seed=3) * 3, images)
    return patient.same(patient.quiet_scores(images), patient.quiet_scores(other))
