"""Mends of what squeezes the scores at the end of a model: a copy of a model, what was found and a few images in, a sentence on what was
changed out.
"""

from __future__ import annotations

import copy
from collections.abc import MutableMapping

import torch
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope._core.text import Text
from vitscope.doctor.finding import Finding
from vitscope.doctor.patient import scores_of
from vitscope.lens.randomness import seed_cpu
from vitscope.race.mends import watched

ENDS = (nn.Softmax, nn.Sigmoid, nn.Tanh, nn.ReLU, nn.Dropout, nn.Softplus, nn.ReLU6, nn.Hardtanh, nn.Softsign)


class _Same(nn.Module):
    """What goes in comes out."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def raw_scores(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """The module that stands at the end and squeezes the scores is taken out; a softmax or sigmoid of the forward's own is undone by its inverse."""
    run, scores = watched(model, images)
    last = [seen for seen in run if isinstance(seen.module, ENDS) and seen.output is scores]
    if last and sum(seen.module is last[-1].module for seen in run) == 1 and last[-1].path:
        parent, _, name = last[-1].path.rpartition(".")
        setattr(model.get_submodule(parent), name, _Same())
        kind = type(last[-1].module).__name__
        return Text(f"nn.{kind} taken out at {last[-1].path}", f"{last[-1].path}のnn.{kind}を除去")
    inverse = {"softmax-in-the-model": "log", "sigmoid-in-the-model": "logit"}.get(finding.id)
    if inverse is None:
        return None
    modes = tuple(is_training for is_training in (False, True) if _squeezes(model, images, inverse, is_training))
    if not modes:
        return None
    model.register_forward_hook(_Inverse(inverse, modes))
    kind = "softmax" if inverse == "log" else "sigmoid"
    return Text(
        f"the {kind} at the end undone (the loss gets the scores before it)",
        f"末尾の{kind}を取り消し、適用前のスコアを損失に渡すよう変更",
    )


def _squeezes(model: nn.Module, images: Tensor, inverse: str, is_training: bool) -> bool:
    """Whether the answers of one mode are probabilities: some models end with a softmax in evaluation only."""
    twin = copy.deepcopy(model).train(is_training)
    seed_cpu(0)
    scores = scores_of(twin(images.clone()), len(images))
    if inverse == "logit":
        return bool(((scores > 0) & (scores < 1)).all())
    return bool((scores >= 0).all()) and torch.allclose(
        scores.sum(dim=1), torch.ones(len(scores)).to(scores), atol=1e-4
    )


class _Inverse:
    """A hook that gives scores whose softmax (or sigmoid) is what the model gave: log p, or log p − log(1 − p); in the modes that have one."""

    def __init__(self, name: str, modes: tuple[bool, ...]) -> None:
        self.name = name
        self.modes = modes

    def __call__(self, module: nn.Module, given: tuple[Tensor, ...], answer: object) -> object:
        if module.training not in self.modes:
            return answer
        scores = scores_of(answer, len(given[0]))
        tiny = torch.finfo(scores.dtype).tiny
        logs = scores.clamp(min=tiny).log()
        if self.name == "logit":
            logs = logs - (1 - scores).clamp(min=torch.finfo(scores.dtype).eps).log()
        return with_scores(answer, scores, logs)


def with_scores(answer: object, old: Tensor, new: Tensor) -> object:
    """What a model gave back, with other scores in their place.

    Raises:
        ModelError: it holds them where they cannot be replaced.
    """
    if answer is old:
        return new
    if isinstance(answer, MutableMapping):  # transformers' ModelOutput is one, too
        for key in [key for key, value in answer.items() if value is old]:
            answer[key] = new
            return answer
    if isinstance(answer, tuple | list) and any(value is old for value in answer):
        values = [new if value is old else value for value in answer]
        return type(answer)(*values) if hasattr(answer, "_fields") else type(answer)(values)
    if getattr(answer, "logits", None) is old:
        setattr(answer, "logits", new)  # noqa: B010  an object of no known class
        return answer
    raise ModelError(f"the scores cannot be replaced in the {type(answer).__name__} that the model gives back")
