"""Whether a model can be examined at all, and how: in goes a copy, out comes a `Patient` with the precision, batch and images that suit it.

What cannot be examined (no image size that fits, no attention anywhere, no forward that ends) is refused in one sentence; what is wrong and
can be, becomes a finding of the check `forward`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError, UsageError
from vitscope._core.raised import CodeError, first_line, raised
from vitscope._core.text import Text
from vitscope.doctor.copying import moved
from vitscope.doctor.finding import Fault, Finding
from vitscope.doctor.forward.first_image import ODD_SIZES, along_the_batch
from vitscope.doctor.forward.squeezed import given_back
from vitscope.doctor.patient import CPU, LARGE_PARAMETERS, Patient, scores_of
from vitscope.doctor.unscored import NoScoresError, wrong_classes
from vitscope.doctor.waking import settled
from vitscope.lens.flow import is_of_two
from vitscope.lens.operations import FUSED, PRODUCTS, SOFTMAX
from vitscope.lens.tape import Tape

IMAGES = 8
"""How many images most experiments take."""
FIRST_SIZES = (2, 1, 3, 8)
"""Batch sizes that experiments need; the last only where the model is not large."""
OTHER_SIZES = (4, 5, 16, 32, 64, 128, 10, 100, 256)
"""Tried where the model takes none of those."""

HARD_WIRED_DTYPE = Fault(
    "hard-wired-precision",
    "M29",
    "forward",
    "warning",
    Text(
        "The model makes tensors of a fixed precision, so it fails in any other: float64 for checks, bfloat16 or half precision on a GPU.",
        "モデルが固定の精度でテンソルを作っているため、ほかの精度（検証用のfloat64、GPUでのbfloat16や半精度）では動きません。",
    ),
    Text(
        "make each tensor in the precision and on the device of what it meets",
        "テンソルは、相手となるテンソルと同じ精度・同じデバイスで作ってください",
    ),
    "torch.arange(n, device=x.device, dtype=x.dtype)   # not dtype=torch.float32",
)


def admitted(
    model: nn.Module,
    *,
    image_size: int | tuple[int, int] | None,
    num_classes: int | None,
    channels: int,
    images: Tensor | None,
    labels: Tensor | None,
    batch_size: int | None,
) -> tuple[Patient, list[Finding], list[Text]]:
    """A patient, what is wrong already, and what a reader must know.

    Raises:
        ModelError: it takes no such images, is no ViT, or gives no scores (`NoScoresError`).
        UsageError: arguments that do not fit together.
    """
    given = _images(image_size, channels, images, labels)
    dtype, works, failure = _what_works(model, given, batch_size, num_classes)
    findings: list[Finding] = []
    notes: list[Text] = []
    if dtype == torch.float32:
        findings.append(HARD_WIRED_DTYPE.found(_no_float64(failure), {"precision": "float64", "error": failure}))
        notes.append(_IN_FLOAT32)
    if {1, 2} & set(works) == {2} and given_back(model, *(several(given, size).to(dtype) for size in (1, 2))):
        works.append(1)
    if _alone_comes_to_nothing(model, given.to(dtype), num_classes, works):
        works.remove(1)
    batch = None if set(_needed(model)) <= set(works) else max(works)
    shown = several(given, batch or max(IMAGES, len(given))).to(dtype)
    scores = _scores(moved(model, CPU, dtype), shown, batch, num_classes)
    classes = scores.shape[1]
    if num_classes is not None and num_classes != classes:
        findings.append(wrong_classes(num_classes, classes))
    marks = _labels(labels, shown, classes)
    patient = Patient(
        model, shown, marks, classes, dtype, batch=batch, has_real_images=images is not None, batch_size=batch_size
    )
    if settled(patient):
        notes.append(_SETTLED)
    quantised = next((call for call in patient.tape.calls if call.op.namespace.startswith("quantized")), None)
    if quantised is not None:
        raise ModelError(
            f"the model is quantised ({quantised.path or 'the model'} computes with integer weights, which no training moves); "
            "give the doctor the model that it was made of"
        )
    if not attends(patient.tape) and not _holds_what_it_never_calls(patient):
        raise CodeError(_NO_ATTENTION)
    return patient, findings, notes


_IN_FLOAT32 = Text(
    "The model does not run in float64, so experiments are in float32 and tell 'no influence' from 'little' less sharply (1e-4 instead of 1e-9).",
    "モデルがfloat64で動かないため、実験はfloat32で行いました。「影響なし」と「わずかな影響」の区別は粗くなります（1e-9ではなく1e-4）。",
)

_NO_ATTENTION = Text(
    "there is no attention in this model: no softmax over tokens, no product of two tensors that both come from the image; the doctor is for Vision "
    "Transformers (a CNN or an MLP-Mixer has other faults)",
    "このモデルにはアテンションがありません。トークンに対するsoftmaxも、どちらも画像から作られた2つのテンソルの積も見つかりません。doctorはVision "
    "Transformerのためのものです（CNNやMLP-Mixerの問題は別のものです）",
)
_SETTLED = Text(
    "Batch norm that had seen no batch was given the statistics of the examined images first.",
    "まだ一度もバッチを処理していないバッチ正規化には、検査用画像の統計量を先に与えました。",
)


@torch.no_grad()
def _scores(model: nn.Module, shown: Tensor, batch: int | None, classes: int | None) -> Tensor:
    """The scores of the first images.

    Raises:
        NoScoresError: there are none. Where a model has a row for each token, it seems to work at a batch of as many images as it has tokens.
    """
    read = along_the_batch(model, shown) if batch is not None else None
    count = ODD_SIZES[0] if read is not None and read.tokens == batch else batch or 2
    answer = model(several(shown, count))
    try:
        return scores_of(answer, count, classes)
    except ModelError as error:
        raise NoScoresError(str(error), answer, count, read or along_the_batch(model, shown)) from None


def _no_float64(failure: str) -> Text:
    return Text(
        f"In float64 the forward fails ({failure}); in float32 it does not.",
        f"float64では順伝播が失敗します（{failure}）。float32では動きます。",
    )


def _images(
    image_size: int | tuple[int, int] | None, channels: int, images: Tensor | None, labels: Tensor | None
) -> Tensor:
    if images is not None:
        if not isinstance(images, Tensor):
            raise UsageError(f"images are a {type(images).__name__}, expected a tensor B C H W as the model takes it")
        if images.ndim != 4 or not len(images) or not images.is_floating_point():
            raise UsageError(
                f"images are {images.dtype} {tuple(images.shape)}, expected floating-point B C H W as the model takes them (normalised)"
            )
        if not bool(images.isfinite().all()):
            raise UsageError("images hold NaN or infinity; give the doctor images as the model takes them")
        if bool((images.flatten(1) == images.flatten(1)[:, :1]).all(1).any()):
            raise UsageError(
                "images hold one that is the same number everywhere, which shows nothing; give real ones, or none"
            )
        if labels is not None and len(labels) != len(images):
            raise UsageError(f"there are {len(images)} images and {len(labels)} labels; give one label an image")
        return images.detach().cpu()
    if labels is not None:
        raise UsageError("labels were given without images; give both")
    if image_size is None:
        raise UsageError(
            "the doctor needs the side of the model's images: diagnose(model, image_size=224), or images themselves"
        )
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(height, width, channels) < 1:
        raise UsageError(
            f"an image of {channels} channels and {height}×{width} pixels has no pixels; give the size that the model takes"
        )
    return torch.randn(IMAGES, channels, height, width, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _labels(labels: Tensor | None, images: Tensor, classes: int) -> Tensor:
    """The images' own labels, or drawn ones, each class as often as the others."""
    distinct = max(classes, 2)  # one score tells two classes apart
    if labels is None:
        drawn = torch.arange(len(images)) % distinct
        return drawn[torch.randperm(len(images), generator=torch.Generator().manual_seed(0))]
    if labels.ndim != 1 or labels.is_floating_point():
        raise UsageError(
            f"labels are {labels.dtype} {tuple(labels.shape)}, expected one class number for each image (labels.argmax(1) of one-hot ones)"
        )
    if int(labels.min()) < 0 or int(labels.max()) >= distinct:
        raise UsageError(
            f"labels run from {int(labels.min())} to {int(labels.max())} and the model gives {classes} scores; "
            f"give labels from 0 to {distinct - 1}, or the model a head of the right size"
        )
    return labels.detach().cpu().long().repeat(-(-len(images) // len(labels)))[: len(images)]


def _what_works(
    model: nn.Module, images: Tensor, batch_size: int | None, classes: int | None
) -> tuple[torch.dtype, list[int], str]:
    """The precision and the batch sizes at which the model runs, and what it said in float64 where it does not run in it."""
    said: dict[torch.dtype, BaseException] = {}
    for dtype in (torch.float64, torch.float32):
        moved(model, CPU, dtype)
        unscored: list[int] = []
        works = [size for size in _needed(model) if _takes(model, images, size, dtype, said, unscored, classes)]
        if not works:
            sizes = (*((batch_size,) if batch_size else ()), *OTHER_SIZES)
            works = [size for size in sizes if _takes(model, images, size, dtype, said, unscored, classes)][:1]
        if works or unscored:
            error = said.get(torch.float64)
            return dtype, works or unscored[:1], "" if error is None else f"{type(error).__name__}: {first_line(error)}"
    error = said[torch.float32]
    raise CodeError(_refused(model, images, error)) from error


@torch.no_grad()
def _alone_comes_to_nothing(model: nn.Module, images: Tensor, classes: int | None, works: Sequence[int]) -> bool:
    """Whether one image by itself gives NaN or infinite scores while a batch does not: what stands in a batch is divided by its spread."""
    if 1 not in works or max(works) == 1:
        return False
    one, many = (scores_of(model(several(images, size)), size, classes) for size in (1, max(works)))
    return not bool(one.isfinite().all()) and bool(many.isfinite().all())


def several(images: Tensor, size: int) -> Tensor:
    """So many images, the first ones again where there are fewer."""
    return images.repeat(-(-size // len(images)), 1, 1, 1)[:size]


def _refused(model: nn.Module, images: Tensor, error: BaseException) -> Text:
    """Why a model does not run, and what helps; images of other sizes show whether it is for theirs."""
    did, advice = raised(error).did, raised(error).advice
    if advice is not None:
        return Text(
            f"the model does not run: its forward {did.en}; {advice.en}",
            f"モデルを実行できません。forwardが{did.ja}。{advice.ja}",
        )
    others: dict[torch.dtype, BaseException] = {}
    is_for_size = False
    for side in (32, 64, 224):
        others.clear()
        _takes(model, torch.zeros(1, images.shape[1], side, side), 1, torch.float32, others, [], None)
        is_for_size |= repr(others.get(torch.float32)) != repr(error)
    if not is_for_size:
        return Text(
            f"the model does not run: whatever the size of the images, its forward {did.en}; mend it first",
            f"モデルを実行できません。画像のサイズにかかわらず、forwardが{did.ja}。まずこれを修正してください",
        )
    shape = "×".join(map(str, images.shape[1:]))
    return Text(
        f"the model does not run on images of {shape} (channels, height, width) at any batch size that was tried: its forward {did.en}; "
        "give the image size and channels that are its own, or mend its forward first",
        f"{shape}（チャネル、高さ、幅）の画像では、試したどのバッチサイズでもモデルを実行できません。forwardが{did.ja}。正しい画像サイズと"
        "チャネル数を指定するか、先にforwardを修正してください",
    )


def _needed(model: nn.Module) -> tuple[int, ...]:
    return FIRST_SIZES[:3] if sum(p.numel() for p in model.parameters()) > LARGE_PARAMETERS else FIRST_SIZES


def _takes(
    model: nn.Module,
    images: Tensor,
    size: int,
    dtype: torch.dtype,
    said: dict[torch.dtype, BaseException],
    unscored: list[int],
    classes: int | None,
) -> bool:
    """Whether the model gives scores at a batch size; `said` gets the first error of a precision, `unscored` those sizes at which the model runs
    and gives no scores for each image."""
    given = several(images, size).to(dtype)
    try:
        with torch.no_grad():
            answer = model(given)
    except (Exception, SystemExit) as error:
        said.setdefault(dtype, error)
        return False
    try:
        scores_of(answer, size, classes)
    except ModelError:
        unscored.append(size)
        return False
    return True


def _holds_what_it_never_calls(patient: Patient) -> bool:
    """Whether a fifth of the matrices, by their numbers, is never used: a ViT whose attention is built and never called has none that shows."""
    used = {source.tensor.untyped_storage().data_ptr() for call in patient.tape.calls for source in call.sources}
    sizes = {p.untyped_storage().data_ptr(): p.numel() for p in patient.model.parameters() if p.ndim > 1}
    return sum(size for place, size in sizes.items() if place not in used) > 0.2 * sum(sizes.values())


def attends(tape: Tape) -> bool:
    """Whether anything on a tape is an attention: a fused one, a product of two tensors that both come from the image, or a softmax whose
    result goes into a product."""
    softmaxes: set[int] = set()
    for call in tape.calls:
        if call.name.startswith(FUSED) or "attention" in str(call.op):
            return True
        if is_of_two(tape, call):
            return True
        if call.name in PRODUCTS:
            if any(source.call is not None and source.call.number in softmaxes for source in call.sources):
                return True
        elif call.name in SOFTMAX or any(s.call is not None and s.call.number in softmaxes for s in call.sources):
            softmaxes.add(call.number)
    return False
