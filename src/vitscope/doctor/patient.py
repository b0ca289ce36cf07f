"""The model on the examination table. In go a copy of a model and images, out comes a `Patient`: what checks ask of it (scores, gradients, its
tape, its attentions), each computed once, under one seed.

Shapes: images B C H W, scores B Y. Experiments are in float64, where "has no influence" is told from "has little"; a model that cannot be, is
examined in float32, and the bar for "the same" is a wider one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor, nn

from vitscope._core.errors import LensError, ModelError
from vitscope._core.raised import first_line
from vitscope._core.text import Text
from vitscope.doctor.copying import without_reentrant_checkpoints
from vitscope.doctor.finding import Skipped
from vitscope.doctor.losses import loss_to_learn
from vitscope.doctor.naming import in_words
from vitscope.doctor.unproved import unproved_attentions
from vitscope.lens.anatomy import Anatomy, find_anatomy
from vitscope.lens.attention import Attention, find_attentions
from vitscope.lens.heads import with_heads_together
from vitscope.lens.layout import Layout, find_layout
from vitscope.lens.randomness import seed_cpu
from vitscope.lens.tape import Tape, record

SEED = 0
CPU = torch.device("cpu")
SAME = {torch.float64: 1e-9, torch.float32: 1e-4}
"""How far two results may be apart, beside one and the largest score, to count as the same: far over rounding, far under any influence."""
LARGE_PARAMETERS, LARGE_TOKENS = 20_000_000, 100
"""A model over either is large: learning checks need `deep`, experiments make do with fewer images."""
_Found = TypeVar("_Found")


@dataclass(eq=False)
class Patient:
    """A model, the images it is examined with, and what is known of the two."""

    model: nn.Module
    """A copy, in evaluation mode, in `dtype`; checks leave it as they find it."""
    images: Tensor
    """B C H W in `dtype`: real ones where the user gave some, else noise."""
    labels: Tensor
    """B: the images' own, or drawn."""
    classes: int
    dtype: torch.dtype
    batch: int | None = None
    """The one batch size that the model works at, where it is one; None where it works at several."""
    has_real_images: bool = False
    is_trained: bool = False
    """Whether its weights are known to have been trained (a run folder)."""
    loss: str | None = None
    """The loss that the user trains with, if told: `cross-entropy`, `nll`, `bce`, …"""
    lr: float | None = None
    batch_size: int | None = None
    """The batch size that the user trains with, if told."""
    deep: bool = False
    factory: Callable[[], nn.Module] | None = None
    """Makes a fresh instance of the model."""
    is_loose: bool = False
    """Whether attentions without a proof count too."""
    deadline: float = float("inf")
    """When the time that the learning checks may take ends, by `time.monotonic`."""
    _known: dict[str, object] = field(default_factory=dict)

    # what a model says

    def scores(self, images: Tensor, model: nn.Module | None = None, *, seed: int = SEED) -> Tensor:
        """The class scores B Y of images, differentiable if gradients are switched on.

        Raises:
            ModelError: the model gives no scores for them.
        """
        seed_cpu(seed)
        with without_reentrant_checkpoints():
            answer = (model or self.model)(images.clone())  # a clone: a model may write into it
        return scores_of(answer, len(images), self.classes)

    @torch.no_grad()
    def quiet_scores(self, images: Tensor, model: nn.Module | None = None, *, seed: int = SEED) -> Tensor:
        """The same, without a gradient."""
        return self.scores(images, model, seed=seed).detach()

    @cached_property
    def answers(self) -> Tensor:
        """The scores of its images (of a large model, of a few of them), B Y."""
        return self.quiet_scores(self.images[: self.batch or (self.few if self.is_large else None)])

    def same(self, one: Tensor, other: Tensor) -> bool:
        """Whether two results differ by no more than rounding."""
        return self.apart(one, other) <= SAME[self.dtype]

    @staticmethod
    def apart(one: Tensor, other: Tensor) -> float:
        """The largest difference between two results, beside one and the largest number of the first."""
        return float((one - other).abs().max()) / (1 + float(one.abs().max()))

    def noise(self, count: int, *, seed: int = SEED) -> Tensor:
        """Images that have nothing in common with the patient's own: count C H W, normal."""
        generator = torch.Generator().manual_seed(1_000 + seed)
        return torch.randn(count, *self.images.shape[1:], generator=generator, dtype=torch.float64).to(self.dtype)

    # what it is

    @cached_property
    def parameter_count(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @cached_property
    def is_large(self) -> bool:
        """Over 20 M parameters, or 100 tokens as far as these were found."""
        tokens = 0
        with suppress(Skipped):
            tokens = max((int(attention.map.shape[-1]) for attention in self.loose.attentions), default=0)
        return self.parameter_count > LARGE_PARAMETERS or tokens > LARGE_TOKENS

    @cached_property
    def few(self) -> int:
        """How many images an expensive experiment takes."""
        return min(len(self.images), 2 if self.is_large else 8)

    # what happens inside, in one forward of one image

    @cached_property
    def tape(self) -> Tape:
        """One forward of one image, or of the only batch that the model takes."""
        tape, self._known["answer"] = self._recorded(self.images[: self.batch or 1])
        return tape

    def tape_of(self, images: Tensor) -> Tape:
        """One forward of other images, recorded."""
        return self._recorded(images)[0]

    def _recorded(self, images: Tensor) -> tuple[Tape, object]:
        seed_cpu(SEED)
        given = images.clone()
        with without_reentrant_checkpoints(), record(self.model, given) as tape:
            answer = self.model(given)
        return tape, answer

    @property
    def attentions(self) -> tuple[Attention, ...]:
        """The attentions of one image's forward, each proved (unless the patient is a loose one).

        Raises:
            Skipped: the lens cannot follow them.
        """
        find = unproved_attentions if self.is_loose else find_attentions
        return self._looked("attentions", lambda: with_heads_together(self.tape, find(self.tape)))

    @cached_property
    def loose(self) -> Patient:
        """The same patient for experiments that need no map: where the lens does not follow its attentions, what else can be told of them counts."""
        with suppress(Skipped):
            self.attentions  # noqa: B018 - followed, or refused
            return self
        tape = self.tape
        twin = replace(self, is_loose=True, _known={"answer": self._known["answer"]})
        twin.__dict__["tape"] = tape
        return twin

    @property
    def anatomy(self) -> Anatomy:
        """Where embedding, blocks, norm and head stand on the tape.

        Raises:
            Skipped: they were not found.
        """
        return self._looked("anatomy", self._anatomy)

    def _anatomy(self) -> Anatomy:
        tape = self.tape
        scores = scores_of(self._known["answer"], self.batch or 1, self.classes)
        return find_anatomy(tape, scores, self.attentions)

    @property
    def layout(self) -> Layout:
        """Which token stands for which patch.

        Raises:
            Skipped: that was not found.
        """
        return self._looked("layout", lambda: find_layout(self.tape, self.anatomy))

    def needs_one_image(self) -> None:
        """To be asked where places of the tape are taken for tokens: on that of a whole batch the images stand side by side.

        Raises:
            LensError: the model takes batches of one larger size only.
        """
        if self.batch not in (None, 1):
            en = f"the model takes batches of {self.batch} only, and the lens follows one image"
            raise LensError(Text(en, f"バッチサイズが{self.batch}に限られるモデルの追跡には対応していません"))

    def _looked(self, name: str, find: Callable[[], _Found]) -> _Found:
        """What the lens finds, once; if it refuses, the same refusal each time."""
        if name not in self._known:
            try:
                self.needs_one_image()
                with torch.no_grad():
                    self._known[name] = find()
            except Skipped as why:
                self._known[name] = why
            except Exception as error:  # an unusual model: what needs its inside is skipped
                self._known[name] = Skipped(not_followed(in_words(error)))
        found = self._known[name]
        if isinstance(found, Skipped):
            raise found
        return found  # type: ignore[return-value]

    # gradients

    @cached_property
    def gradients(self) -> Mapping[str, Tensor | None]:
        """The gradient of the cross-entropy of `few` images (of the only batch that the model takes) for each registered parameter that asks for
        one; None where none arrives."""
        count = self.batch or self.few
        names, parameters = zip(*((n, p) for n, p in self.model.named_parameters() if p.requires_grad), strict=True)
        with torch.enable_grad():
            scores = self.scores(self.images[:count])
            if not scores.requires_grad:
                return dict.fromkeys(names)
            found = torch.autograd.grad(loss_to_learn(scores, self.labels[:count]), parameters, allow_unused=True)
        return {name: None if g is None else g.detach() for name, g in zip(names, found, strict=True)}

    def image_gradient(self, images: Tensor, model: nn.Module | None = None, *, seed: int = SEED) -> Tensor:
        """The gradient B C H W of a random projection of each image's scores."""
        given = images.clone().requires_grad_(True)
        with torch.enable_grad():
            scores = self.scores(given * 1.0, model)  # not a leaf, so that a model may write into it
            generator = torch.Generator().manual_seed(seed)
            weights = torch.randn(scores.shape, generator=generator, dtype=torch.float64).to(scores.dtype)
            if not scores.requires_grad:
                return torch.zeros_like(images)
            (gradient,) = torch.autograd.grad((scores * weights).sum(), given, allow_unused=True)
        return torch.zeros_like(images) if gradient is None else gradient

    @cached_property
    def trained(self) -> Patient:
        """The same model after some steps of Adam (1e-3) on a few images, in float32: what was zero only at the start is no longer.

        20 steps, for a large model 6: each step frees what hangs on the zeros that the one before has moved."""
        from vitscope.doctor.waking import trained_copy

        model = trained_copy(self, steps=6 if self.is_large else 20)
        return replace(self, model=model, is_trained=True, _known={})

    def time_left(self) -> float:
        """Seconds that learning checks still have."""
        return self.deadline - time.monotonic()


def scores_of(answer: object, batch: int, classes: int | None = None) -> Tensor:
    """The class scores B Y in what a model gave back: a tensor, something with `logits`, or what fits in a tuple or mapping: of several, the first
    with as many scores as there are classes, where that is known, and the first of all otherwise.

    Raises:
        ModelError: there are none.
    """
    candidates = [answer, getattr(answer, "logits", None)]
    if isinstance(answer, Mapping):
        candidates += [answer.get("logits"), *answer.values()]
    if isinstance(answer, tuple | list):
        candidates += [x for x in answer if isinstance(x, Tensor)]
    if classes == 1:  # one score an image, as B too
        candidates = [x[:, None] if isinstance(x, Tensor) and x.ndim == 1 else x for x in candidates]
    fitting = [x for x in candidates if isinstance(x, Tensor) and x.ndim == 2 and len(x) == batch]
    if not fitting:
        what = (
            f"a tensor of shape {tuple(answer.shape)}" if isinstance(answer, Tensor) else f"a {type(answer).__name__}"
        )
        raise ModelError(
            f"for {batch} images the model gives back {what}, expected scores of shape ({batch}, classes), by themselves or as logits; "
            "give the doctor a model that classifies"
        )
    return next((x for x in fitting if x.shape[1] == classes), fitting[0])


def not_followed(error: Exception) -> Text:
    """Why a part of a model was not found. What is no error of the lens is quoted as it is in both languages."""
    said = error.text if isinstance(error, LensError) else Text(first_line(error), first_line(error))
    return Text(
        f"the inside of this model was not followed so far: {said.en}",
        f"モデルの内部を追跡できませんでした: {said.ja}",
    )
