"""Whether the model knows where patches are. In goes a patient, out come findings."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from math import gcd

import torch
from torch import Tensor

from vitscope._core.text import Text
from vitscope.doctor.finding import Fault, Finding, Skipped
from vitscope.doctor.naming import as_code
from vitscope.doctor.patient import Patient
from vitscope.doctor.reading.blindness import is_blind
from vitscope.doctor.reading.cause import with_its_table
from vitscope.doctor.reading.placed import added, differs, made_of, mechanism
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.tape import Call

DROWNED = 1.5
"""Spread of the position embedding beside that of the patches, from which it drowns them: `torch.randn` over a default embedding has 1.7,
a start of 0.02 has 0.03."""
FAR = 100.0
"""From which patches are as good as not there."""
FAINT = 0.05
"""Weights smaller than this, beside one over the root of what each sums, are not as torch starts them (there it is 0.58)."""
USUAL = 0.02
"""The standard deviation that position embeddings start with."""

BLIND = Fault(
    "position-blind",
    "M21",
    "position",
    "warning",
    Text(
        "The model sees a bag of patches: textures and colours, but no shape and no layout. It learns, some points of accuracy worse on small "
        "images, more on larger ones.",
        "モデルにはパッチの集まりとしか見えません。テクスチャや色は分かっても、形や配置は分かりません。学習は進みますが、小さな画像では正解率が"
        "数ポイント下がり、画像が大きいほど差が広がります。",
    ),
    Text(
        "add a position embedding with one row for each token to the tokens, before the first block, and let it learn",
        "トークンごとに1行を持つ位置埋め込みを、最初のブロックの前でトークンに足し、学習させてください",
    ),
    "self.pos_embed = nn.Parameter(torch.randn(1, 1 + patches, dim) * 0.02)\nx = x + self.pos_embed",
)
AT_START = Fault(
    "position-starts-at-zero",
    "M21",
    "position",
    "note",
    Text(
        "A position embedding that starts at zero is a usual choice: it moves with the first steps.",
        "位置埋め込みをゼロで初期化するのはよくある設計で、最初の数ステップで値が動きます。",
    ),
    Text("nothing to do", "対処は不要です"),
)
DROWNS = Fault(
    "position-drowns-the-patches",
    "I3",
    "position",
    "note",
    Text(
        "What a token is starts out as little beside where it is, so the first epochs go into turning the position embedding down.",
        "初期状態では、トークンの「内容」が「位置」に埋もれています。最初の数エポックは位置埋め込みを弱めることに費やされます。",
    ),
    Text(
        "start the position embedding with a standard deviation of 0.02",
        "位置埋め込みの初期値の標準偏差を0.02にしてください",
    ),
    "nn.init.trunc_normal_(self.pos_embed, std=0.02)",
)
_FAINT = Text(
    "start the weights of the patch embedding as torch does: beside patches as faint as these a position embedding of the usual size, 0.02, is too "
    "large as well",
    "パッチ埋め込みの重みを、PyTorchの既定の初期値から始めてください。パッチの値がこれほど小さいと、位置埋め込みを通常の標準偏差0.02にしても大きすぎます",
)

_DIVIDED = Text(
    "look for what makes the patches so faint, though their embedding has weights of the usual size: a division of the pixels or of the tokens (by "
    "255 twice, for one)",
    "パッチの値が小さくなる原因を探してください。パッチ埋め込みの重みは通常の大きさなので、画素やトークンがどこかで割られています（255で2回割るなど）",
)


def position(patient: Patient) -> Iterator[Finding]:
    """Whether it matters where a patch is.

    Does: puts the squares of the image in another order; scores that stay exactly as they are, at the start and after 20 steps, belong to a
    model that is blind to places. And measures the position embedding beside the patches (I3).
    Finds: no position, one row for all tokens, a position made of the content, one that is held and never added, frozen zeros (M21).
    Must not accuse: tables that start at zero (a note); models without a table that know places by convolutions.
    Source: Dosovitskiy et al. 2021, appendix D.4.
    """
    if is_blind(patient):
        if patient.is_trained or is_blind(patient.trained):
            raise Skipped(_NOTHING_READ)
        patient_seen = patient.trained
    else:
        patient_seen = patient
    blind_to = _blind_to(patient_seen)
    if blind_to is not None and patient.dtype != torch.float64 and differs(added(patient)):
        raise Skipped(_TOO_SMALL)
    if blind_to is not None:
        if patient_seen is patient and not patient.is_trained and _blind_to(patient.trained) is None:
            yield _at_start(patient, blind_to)
        else:
            yield with_its_table(patient, _blind(patient, blind_to))
    yield from _drowned(patient)


_NOTHING_READ = Text(
    "the scores do not depend on the picture, so neither on where anything is in it (see input-blindness)",
    "スコアが画像に依存しないため、位置にも依存しません（input-blindnessを参照）",
)


_TOO_SMALL = Text(
    "a position embedding is added that differs from token to token, but beside tokens as large as these it is too little to be told from rounding "
    "in float32; images of the usual size (mean 0, standard deviation 1) would show it",
    "位置埋め込みはトークンごとに異なる値で足されていますが、トークンの値が大きいため、その影響をfloat32の丸め誤差と区別できません。標準化した画像"
    "（平均0、標準偏差1）を渡すと確かめられます",
)


def _at_start(patient: Patient, side: int) -> Finding:
    """The place comes to count: something starts at zero, as far as it was found."""
    placed = added(patient)
    is_zero = placed is not None and not bool(placed.any())
    return AT_START.found(
        Text(
            "At the start the model does not know where a patch is; after some steps it does."
            + (" The position embedding starts at zero." if is_zero else ""),
            "初期状態ではパッチの位置を区別しませんが、数ステップ学習すると区別するようになります。"
            + ("位置埋め込みがゼロで初期化されています。" if is_zero else ""),
        ),
        {"square": side},
    )


def _blind_to(patient: Patient) -> int | None:
    """The side of squares that may change places without changing any score; None where there is none."""
    images = patient.images[: patient.batch or (2 if patient.is_large else 4)]  # two that are standardised are ±1 each
    here = patient.quiet_scores(images)
    for side in _sides(patient):
        if all(patient.same(here, patient.quiet_scores(_shuffled(images, side, seed))) for seed in (0, 1)):
            return side
    return None


def _sides(patient: Patient) -> list[int]:
    """Sides of squares that may be patches, or whole numbers of them: the lens's word, else all that divide the image."""
    height, width = patient.images.shape[-2:]
    whole = gcd(height, width)
    try:
        down, across = (side // n for side, n in zip((height, width), patient.layout.grid, strict=True))
        if down == across and down < height and height % down == 0 and width % across == 0:
            return [down]
    except Skipped:
        pass
    return [side for side in range(whole // 2, 1, -1) if whole % side == 0][:6]


def _shuffled(images: Tensor, side: int, seed: int) -> Tensor:
    """The same images with their squares in another order."""
    batch, channels, height, width = images.shape
    squares = images.unfold(2, side, side).unfold(3, side, side)
    rows, columns = squares.shape[2:4]
    squares = squares.reshape(batch, channels, rows * columns, side, side)
    order = torch.randperm(rows * columns, generator=torch.Generator().manual_seed(seed))
    if bool((order == torch.arange(len(order))).all()):
        order = order.roll(1)
    squares = squares[:, :, order].reshape(batch, channels, rows, columns, side, side)
    return squares.permute(0, 1, 2, 4, 3, 5).reshape(batch, channels, height, width)


def _blind(patient: Patient, side: int) -> Finding:
    """The finding, with what became of the position embedding as far as it was found."""
    why, evidence = mechanism(patient)
    return _with_code(patient, evidence).found(
        Text(
            f"The model is blind to where patches are: squares of {side}×{side} pixels in another order give exactly the same scores{why.en}.",
            f"モデルがパッチの位置を区別していません。{side}×{side}画素の正方形を並べ替えても、スコアはまったく同じです{why.ja}。",
        ),
        {"square": side, "largest_change_of_scores": 0.0, **evidence},
    )


def _with_code(patient: Patient, evidence: dict[str, object]) -> Fault:
    """The fault with a table for the tokens that the model has, or with the one that it holds and does not add."""
    if (held := evidence.get("never_added")) is not None:
        return replace(
            BLIND,
            advice=Text(
                f"add {held} to the tokens, before the first block",
                f"{held}を、最初のブロックの前でトークンに足してください",
            ),
            code=f"x = x + {as_code(str(held))}",
        )
    with suppress(Skipped):
        return replace(BLIND, code=BLIND.code.replace("1 + patches", str(len(patient.layout.patch_of_token))))
    return BLIND


def _drowned(patient: Patient) -> Iterator[Finding]:
    """Whether the position embedding is so large that patches hardly differ beside it."""
    try:
        call, tokens = patient.anatomy.with_position, set(patient.layout.token_of_patch.values())
    except Skipped:
        return
    if call is None or patient.is_trained:
        return
    before = next((s for s in call.sources if patient.tape.is_of_image(s)), None)
    if before is None or before.tensor.shape != call.outputs[0].shape or not tokens:
        return
    content = as_tokens(patient.tape.value(before))
    placed = as_tokens(patient.tape.value(call)) - content
    rows = [token for token in sorted(tokens) if token < len(content)]
    spread = float(content[rows].std(dim=0).mean())
    ratio = float(placed[rows].std(dim=0).mean()) / spread if len(rows) > 1 and spread else 0.0
    if ratio > DROWNED:
        is_faint = spread * DROWNED < USUAL
        fault = _fainter(patient) if is_faint else _quieter(patient, call)
        times = f"{ratio:,.0f}" if ratio >= FAR else f"{ratio:.1f}"
        yield fault.found(
            Text(
                f"The position embedding is {times} times as large as the patches that it is added to.",
                f"位置埋め込みの大きさが、足される先のパッチの{times}倍あります。",
            ),
            {"position_beside_patches": ratio, "spread_of_patches": spread},
            severity="warning" if ratio >= FAR else None,
        )


def _fainter(patient: Patient) -> Fault:
    """The fault with the layer that makes the patches, where its weights are what is too small."""
    path = patient.anatomy.patch_embedding.path
    layer = patient.model.get_submodule(path)
    weight = getattr(layer, "weight", None)
    if not path or not isinstance(weight, Tensor) or not hasattr(layer, "reset_parameters"):
        return replace(DROWNS, advice=_FAINT, code="")
    if float(weight.detach().std()) > FAINT * weight[0].numel() ** -0.5:
        return replace(DROWNS, advice=_DIVIDED, code="")
    return replace(DROWNS, advice=_FAINT, code=f"{as_code(path)}.reset_parameters()")


def _quieter(patient: Patient, call: Call) -> Fault:
    """The fault with what is added by name: a parameter starts smaller, a fixed table is multiplied."""
    made = {each for s in call.sources if not patient.tape.is_of_image(s) for each in made_of(s)}
    held = next((name for name, each in patient.model.named_parameters() if id(each) in made), None)
    if held is not None:
        return replace(DROWNS, code=f"nn.init.trunc_normal_({as_code(held)}, std=0.02)")
    fixed = next((name for name, each in patient.model.named_buffers() if id(each) in made), None)
    return DROWNS if fixed is None else replace(DROWNS, code=f"x = x + 0.02 * {as_code(fixed)}")
