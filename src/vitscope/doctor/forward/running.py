"""Whether the forward works as a forward should: at any batch size, with numbers that are numbers, without traces, on any device."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.admission import HARD_WIRED_DTYPE, several
from vitscope.doctor.copying import copied, moved
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.device import bound_to_a_device
from vitscope.doctor.forward.shapes import failure, without_numbers
from vitscope.doctor.forward.slots import slot_parameters
from vitscope.doctor.forward.traces import left_behind
from vitscope.doctor.patient import CPU, Patient, scores_of
from vitscope.lens.flow import ancestors
from vitscope.lens.tape import Call, Tape

SIZES = (1, 2, 3, 5, 8, 16, 32, 64)
REAL_UP_TO = 8
"""Above (of a large model, at all sizes but one), the model runs without numbers, and with them only where that fails."""
_ALL_ELSE = (
    "determinism",
    "batch-independence",
    "input-blindness",
    "pixel-coverage",
    "patch-layout",
    "position",
    "token-mixing",
    "attention",
    "residual",
    "parameters",
    "gradient",
    "output",
    "initial-loss",
    "overfit",
    "learning-rate",
)

NOT_FINITE = Fault(
    "non-finite-scores",
    "T0",
    "forward",
    "error",
    Text(
        "A NaN or an infinity in the scores makes the loss NaN, and after one step every weight.",
        "スコアにNaNや無限大があると損失もNaNになり、1ステップですべての重みがNaNになります。",
    ),
    Text(
        "look at the named operation: a division by zero, a root or logarithm of what is not positive, a row that is masked altogether, "
        "an exponential that overflows",
        "上に挙げた演算を確認してください。ゼロ除算、正でない値の平方根や対数、すべてマスクされた行、オーバーフローする指数関数などが原因です",
    ),
    explains=_ALL_ELSE,
)
SOME_SIZES = Fault(
    "works-only-at-some-batch-sizes",
    "M23",
    "forward",
    "error",
    Text(
        "The last batch of an epoch is smaller than the others, and a prediction is often of one image: there the model fails.",
        "エポックの最後のバッチはほかより小さく、推論は1枚で行うことも多いため、そこでモデルが動かなくなります。",
    ),
    Text(
        "take the batch size from the images in every view, expand and reshape, and name axes in squeeze()",
        "view、expand、reshapeのバッチサイズは入力画像から取り、squeeze()では次元を指定してください",
    ),
    "B = x.shape[0]\ncls = self.cls.expand(B, -1, -1)   # not self.batch_size",
    explains=("batch-independence",),
)
NOT_ALONE = Fault(
    "one-image-gives-no-numbers",
    "M22",
    "forward",
    "error",
    Text(
        "What stands in a batch is centred or divided by its spread, and one image has none: no image can be classified by itself, and in a batch "
        "what all images share, as the position embedding, is taken away.",
        "バッチ方向の平均や標準偏差で正規化されていますが、1枚だけでは標準偏差を計算できません。画像を単独で分類できないうえ、位置埋め込みのように全画像に共通の"
        "ものは取り除かれてしまいます。",
    ),
    Text(
        "norm each token along its width (dim=-1), not along the batch (dim=0)",
        "正規化はバッチ方向（dim=0）ではなく、トークンごとに幅の方向（dim=-1）で行ってください",
    ),
    "x = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5)   # or nn.LayerNorm(dim)",
    explains=("batch-independence", "position-blind"),
)
PER_SLOT_SIZES = Fault(
    "batch-size-in-a-parameter",
    "M22",
    "forward",
    "error",
    Text(
        "Each place in the batch learns numbers of its own: the last, smaller batch fails, and a prediction depends on the place of the image.",
        "バッチ内の位置ごとに別々のパラメータを学習することになり、最後の小さいバッチで失敗するうえ、予測が画像の位置に左右されます。",
    ),
    Text(
        "give the parameter one row for all images and expand it",
        "パラメータは全画像で共有する1行だけにし、expandで広げてください",
    ),
    "self.cls = nn.Parameter(torch.zeros(1, 1, dim))\ncls = self.cls.expand(x.shape[0], -1, -1)",
    explains=("works-only-at-some-batch-sizes", "batch-independence"),
)


def forward(patient: Patient) -> Iterator[Finding]:
    """The forward as a whole.

    Does: runs the model at eight batch sizes and the user's own (large ones without numbers, on the meta device), with its scores searched for NaN
    and infinity; compares its input, its own tensors and the tensors in memory before and after several calls; runs it on the meta device.
    Finds: a batch size written into the forward (M23) or into a parameter (M22), scores that are no numbers, writing into the input, state that
    changes in evaluation, memory that grows (M28), tensors tied to the CPU (M29).
    Must not accuse: tables that the first call fills, -inf in masks, forwards that ask for numbers and so do not run on the meta device.
    Source: experience; docs.pytorch.org, meta device.
    """
    yield from _not_finite(patient)
    yield from _sizes(patient)
    yield from left_behind(patient)
    yield from bound_to_a_device(patient)


def _not_finite(patient: Patient) -> Iterator[Finding]:
    scores = patient.answers
    if bool(scores.isfinite().all()):
        return
    share = float((~scores.isfinite()).double().mean())
    where = _first_that_is_none(patient)
    path, operation = (where.path or "the model", where.name) if where is not None else ("", "")
    en = f" The first stands in {path} ({operation})." if where is not None else ""
    ja = f"最初に現れるのは{where.path or 'モデル本体'}（{operation}）です。" if where is not None else ""
    yield NOT_FINITE.found(
        Text(
            f"{100 * share:.0f} % of the scores are NaN or infinite.{en}",
            f"スコアの{100 * share:.0f} %がNaNまたは無限大です。{ja}",
        ),
        {"share_not_finite": share, "module": path, "operation": operation, "precision": str(patient.dtype)[6:]},
    )


@torch.no_grad()
def _first_that_is_none(patient: Patient) -> Call | None:
    """The first operation on the way to the scores that makes a NaN; where there is none, an infinity, masks aside."""
    bad = next((i for i, row in enumerate(patient.answers) if not bool(row.isfinite().all())), 0)
    images = patient.images if patient.batch else patient.images[bad : bad + 1]
    tape: Tape = patient.tape_of(images)
    ends = [call for call in tape.calls if call.outputs and call.outputs[0].shape[-1:] == (patient.classes,)]
    if not ends:
        return None
    way = [tape.calls[number] for number in sorted(ancestors(ends[-1]) | {ends[-1].number})]
    way = [
        call
        for call in way
        if call.outputs and call.outputs[0].is_floating_point() and not call.name.startswith("empty")
    ]
    for spoiled in (torch.isnan, torch.isinf):
        for call in way:
            is_mask = spoiled is torch.isinf and not any(tape.is_of_image(source) for source in call.sources)
            if (
                not is_mask
                and "mask" not in call.name
                and call.name != "where"
                and bool(spoiled(call.outputs[0]).any())
            ):
                return call
    return None


def _sizes(patient: Patient) -> Iterator[Finding]:
    own = (patient.batch_size,) if patient.batch_size else ()
    sizes = sorted({*SIZES, *own, *((patient.batch,) if patient.batch else ())})
    model, dtype = _as_it_trains(patient)
    known = patient.batch or 2
    said = failure(patient, known, model, _images(patient, known, dtype))
    if said is not None:  # it runs in float64 and not in float32
        yield HARD_WIRED_DTYPE.found(
            Text(
                f"In float32 the forward fails ({said.en}); in float64 it does not.",
                f"float32では順伝播が失敗します（{said.ja}）。float64では動きます。",
            ),
            {"precision": "float32", "error": said.en},
        )
        model, dtype = patient.model, patient.dtype
    failures = {size: said for size in sizes for said in [_at(patient, size, model, dtype)] if said is not None}
    if not failures or any("not enough memory" in said.en for said in failures.values()):
        return
    works = [size for size in sizes if size not in failures]
    if list(failures.values()) == [_NOT_FINITE]:
        yield NOT_ALONE.found(
            Text(
                "The scores of one image by itself are NaN or infinite; those of several images together are not.",
                "画像が1枚だけだと、スコアがNaNまたは無限大になります。複数枚なら正常です。",
            ),
            {"works_at": works, "fails_at": [1]},
        )
        return
    slots = slot_parameters(patient)
    evidence = {
        "works_at": works,
        "fails_at": list(failures),
        "errors": {str(size): said.en for size, said in failures.items()},
    }
    first = next(iter(failures.values()))
    en, ja = _which(works, list(failures), first)
    if not slots:
        yield SOME_SIZES.found(Text(f"{en}.", f"{ja}。"), evidence)
        return
    shapes = {name: list(t.shape) for name, t in (*patient.model.named_parameters(), *patient.model.named_buffers())}
    named = ", ".join(f"{name} {tuple(shapes[name])}" for name in slots[:3])
    yield PER_SLOT_SIZES.found(
        Text(
            f"{en}: {named} holds a row for each place in the batch.",
            f"{ja}。{named}がバッチ内の位置ごとに別の行を持っています。",
        ),
        {**evidence, "per_place": {name: shapes[name] for name in slots}},
    )


def _as_it_trains(patient: Patient) -> tuple[nn.Module, torch.dtype]:
    """A copy in float32; one more large model is not kept where that is what the patient is."""
    if patient.dtype == torch.float32:
        return patient.model, torch.float32
    return moved(copied(patient.model), CPU, torch.float32), torch.float32


def _at(patient: Patient, size: int, model: nn.Module, dtype: torch.dtype) -> Text | None:
    """What is said at a batch size; None where it works."""
    if size != patient.batch and (size > REAL_UP_TO or patient.is_large):
        twin = without_numbers(patient)
        if twin is not None and failure(patient, size, twin) is None:
            return None
        if twin is None and patient.is_large and size > REAL_UP_TO:
            return None  # half a minute each, for what hardly ever is
    images = _images(patient, size, dtype)
    said = failure(patient, size, model, images)
    return _NOT_FINITE if said is None and size == 1 and _comes_to_nothing(patient, model, images) else said


_NOT_FINITE = Text(
    "batch size 1: scores are NaN or infinite",
    "バッチサイズ1ではスコアがNaNまたは無限大になる",
)


def _comes_to_nothing(patient: Patient, model: nn.Module, image: Tensor) -> bool:
    """Whether one image by itself gives no numbers, while a batch does."""
    with torch.no_grad():
        alone = scores_of(model(image), 1, patient.classes)
    return not bool(alone.isfinite().all()) and bool(patient.answers.isfinite().all())


def _images(patient: Patient, size: int, dtype: torch.dtype) -> Tensor:
    return several(patient.images, size).to(dtype)


def _which(works: list[int], fails: list[int], said: Text) -> tuple[str, str]:
    """At which batch sizes it works, in both languages, without a full stop."""
    ours, theirs = (", ".join(map(str, sizes)) for sizes in (works, fails))
    if len(works) == 1:
        return (
            f"The model runs at batch size {ours} and at no other that was tried ({said.en})",
            f"バッチサイズ{ours}では動きますが、試したほかのサイズではすべて失敗します（{said.ja}）",
        )
    return (
        f"The model runs at batch sizes {ours} and fails at {theirs} ({said.en})",
        f"バッチサイズ{ours.replace(', ', '、')}では動きますが、{theirs.replace(', ', '、')}では失敗します（{said.ja}）",
    )
