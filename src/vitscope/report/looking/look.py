"""One image through one model, all that there is to say of it: in go a subject and a picture, out comes a `Look`, numbers without a language.

`look_page` makes a page of it, `look_figures` pictures for papers, `to_dict` the JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from vitscope._core.text import Text
from vitscope.lens import proofs
from vitscope.lens.proofs import Proof
from vitscope.lens.trace import Trace, trace
from vitscope.recipes.subject import Subject
from vitscope.report.looking.gather import Views, gather
from vitscope.report.looking.stages import StageWords, stage_words

ROOM = 24
"""Letters of a class's name beside a chart."""


@dataclass(frozen=True, eq=False)
class Look:
    """An image in a model: trace, views, proofs by stage."""

    subject: Subject
    image_name: str
    picture: Image.Image
    pixels: UInt8[np.ndarray, "H W C"]
    """The picture as the model's preprocessing leaves it, before it is normalised."""
    label: str | None
    """The right class, where it is known."""
    trace: Trace
    views: Views
    stages: tuple[StageWords, ...]
    proofs: dict[str, tuple[Proof, ...]]
    """By the stage's key."""

    @property
    def target(self) -> int:
        """The class with the highest score."""
        return int(self.trace["logits"].argmax())

    @property
    def is_right(self) -> bool | None:
        """Whether the model's answer is the label; None where the label is not known, or is none of the model's own."""
        if self.label not in (self.subject.label_names or ()):
            return None
        return self.subject.label(self.target) == self.label

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each class, as long as a picture has room for."""
        names = (self.subject.label(index) for index in range(len(self.trace["logits"])))
        return tuple(name if len(name) <= ROOM else f"{name[: ROOM - 1]}…" for name in names)

    def top(self, count: int = 10) -> list[tuple[int, str, float, float]]:
        """The classes with the highest scores: number, name, score, probability."""
        logits, probabilities = self.trace["logits"], self.trace["probabilities"]
        best = logits.float().topk(min(count, len(logits))).indices.tolist()
        return [(i, self.subject.label(i), float(logits[i]), float(probabilities[i])) for i in best]

    @property
    def alarms(self) -> tuple[Proof, ...]:
        """What does not hold, or speaks for a model that is not sound."""
        return tuple(proof for found in self.proofs.values() for proof in found if not proof.holds)

    def to_dict(self) -> dict[str, Any]:
        """All numbers, without the tensors themselves."""
        views, found = self.views, self.trace
        return {
            "model": self.subject.name,
            "image": self.image_name,
            "label": self.label,
            "right": self.is_right,
            "notes": [note.to_dict() for note in (*self.subject.notes, *found.notes, *views.shortened)],
            "top": [{"class": i, "label": n, "score": s, "probability": p} for i, n, s, p in self.top()],
            "worst_error": found.worst_error,
            "sound": not self.alarms,
            "stages": [
                {
                    "number": stage.number,
                    "key": stage.key,
                    "name": stage.name.to_dict(),
                    "shape": stage.shape,
                    "checks": [proof.to_dict() for proof in self.proofs.get(stage.key, ())],
                }
                for stage in self.stages
            ],
            "intermediates": [
                {"name": name, "shape": list(value.shape), "mean": _mean(value), "std": _std(value)}
                for name, value in found.items()
            ],
            "grid": list(found.layout.grid),
            "patch_of_token": list(found.layout.patch_of_token),
            "reads": list(found.reads),
            "attention_errors": [attention.error for attention in found.attentions],
            "attention_distance_pixels": _listed(views.distance.pixels if views.distance is not None else None),
            "attention_entropy_bits": _listed(views.entropy.bits if views.entropy is not None else None),
            "token_norms": _listed(views.norms.norms if views.norms is not None else None),
            "token_likeness": _listed(views.likeness.cosines if views.likeness is not None else None),
            "logit_lens": _listed(views.logit_lens.scores if views.logit_lens is not None else None),
            "rollout_of_what_is_read": _listed(
                views.rollout.shares[list(found.reads)].mean(dim=0) if views.rollout is not None else None
            ),
            "removal": views.removal
            and {
                "class": views.removal.target,
                "heads": _listed(views.removal.heads),
                "blocks": _listed(views.removal.blocks),
            },
            "shuffling": views.shuffling
            and {
                "with_position": _listed(views.shuffling.with_position),
                "without_position": _listed(views.shuffling.without_position),
            },
            "attribution": views.attribution
            and {
                "class": views.attribution.target,
                "patches": _listed(views.attribution.patches),
                "score_gained": views.attribution.gained,
                "error": views.attribution.error,
            },
            "absent": {name: why.to_dict() for name, why in views.absent.items()},
        }


def look_at(
    subject: Subject, picture: Image.Image, image_name: str, label: str | None = None, *, thorough: bool = False
) -> Look:
    """Follows a picture through a model.

    Args:
        thorough: do every experiment in full, however large the model is.

    Raises:
        LensError: the model is no ViT that the lens can follow, or a map that cannot be proved.
    """
    pixels = subject.preprocessing.to_array(picture)
    found = trace(subject.model, subject.normalised(pixels)[0])
    words = stage_words(found, subject.spec)
    views = gather(found, parameters=sum(p.numel() for p in subject.model.parameters()), thorough=thorough)
    return Look(
        subject, image_name, picture, pixels, label, found, views, words, _proofs(found, views, subject, pixels)
    )


def _proofs(
    found: Trace, views: Views, subject: Subject, pixels: UInt8[np.ndarray, "H W C"]
) -> dict[str, tuple[Proof, ...]]:
    known = {
        "image": (_pixels_are_the_input(found, subject, pixels),),
        "patches": (_patches_put_back(found, views),),
        "patch_embedding": (proofs.embedding_is_linear(found),),
        "with_class": (proofs.extra_tokens_ignore_the_image(found),),
        "with_position": (proofs.position_ignores_the_image(found),),
        "encoder": (
            proofs.maps_give_what_the_module_gave(found),
            proofs.rows_sum_to_one(found),
            proofs.class_token_meets_patches(found),
        ),
        "pooled": (proofs.read_tokens(found),),
        "logits": (_lens_ends_at_logits(found, views), proofs.scores_hang_on_the_image(found)),
    }
    return {key: tuple(proof for proof in each if proof is not None) for key, each in known.items()}


def _pixels_are_the_input(found: Trace, subject: Subject, pixels: UInt8[np.ndarray, "H W C"]) -> Proof:
    own = subject.preprocessing
    mean, std = (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) for values in (own.mean, own.std))
    back = (found["image"].double().cpu() * std + mean) * 255
    error = float((back - torch.from_numpy(pixels.copy()).permute(2, 0, 1)).abs().max())
    words = Text(
        "Taken back (times standard deviation, plus mean), the input is the pixels of the picture shown; error in steps of 1/255.",
        "入力を元に戻す（標準偏差を掛け、平均を足す）と、表示している画像の画素値に一致します。誤差は1/255を単位とした値です。",
    )
    tolerance = 0.5
    return Proof(words, error, tolerance, error <= tolerance)


def _patches_put_back(found: Trace, views: Views) -> Proof | None:
    if views.patches is None or found.layout.pixels is None:
        return None
    image = found["image"]
    back = torch.full((image.numel(),), torch.nan, dtype=image.dtype, device=image.device)
    back[found.layout.pixels] = found["patches"]
    error = float((back.view_as(image) - image).abs().max())
    words = Text(
        "Where each pixel goes was found by changing pixels, not read from the code; the patches, put back, are the image to the last digit.",
        "どの画素がどのパッチに入るかは、コードを読むのではなく画素を実際に変えて調べました。パッチを元の位置に戻すと、画像と最後の桁まで一致します。",
    )
    return Proof(words, error, 0.0, error == 0)


def _lens_ends_at_logits(found: Trace, views: Views) -> Proof | None:
    if views.logit_lens is None:
        return None
    logits = found["logits"].detach().double()
    error = float(
        (views.logit_lens.scores[-1].detach().double() - logits).abs().max() / logits.abs().max().clamp(min=1e-30)
    )
    error = max(error, abs(float(found["probabilities"].detach().double().sum()) - 1))
    words = Text(
        "Read out behind the last block, the logit lens gives the model's own scores; softmax of them sums to one.",
        "最後のブロックの後で読み出したロジットレンズの値は、モデル自身のスコアと一致します。softmaxをかけた値の和は1です。",
    )
    tolerance = max(attention.tolerance for attention in found.attentions)
    return Proof(words, error, tolerance, error <= tolerance)


def _listed(values: Tensor | None) -> Any:
    return None if values is None else values.detach().float().tolist()


def _mean(values: Tensor) -> float:
    return float(values.detach().double().mean())


def _std(values: Tensor) -> float:
    return float(values.detach().double().std(correction=0))
