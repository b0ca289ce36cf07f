"""What a mend has to show: the finding is there before and gone afterwards, and the mended copy is the healthy twin with the same weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.race.repair import Mended, mended

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
Make = Callable[[], nn.Module]


def mended_copy(make: Make, check: str, fault: str) -> Mended:
    """The finding before, none after, the model as it was, and a copy of the mended copy (as a training makes one) the same."""
    torch.manual_seed(0)
    sick = make()
    found = {each.id: each for each in diagnose(sick, image_size=16, checks=[check]).findings}
    assert fault in found
    was = _scores(copy.deepcopy(sick))
    done = mended(sick, found[fault], IMAGES)
    assert done is not None
    assert done.done.en
    assert done.done.ja
    assert fault not in {each.id for each in diagnose(done.model, image_size=16, checks=[check]).findings}
    assert torch.equal(_scores(sick), was)
    assert torch.equal(_scores(copy.deepcopy(done.model)), _scores(done.model))
    return done


def _scores(model: nn.Module) -> Tensor:
    torch.manual_seed(0)
    found: Tensor = model.eval()(IMAGES)
    return found


def is_the_twin(make: Make, twin: Make, check: str, fault: str, *, tolerance: float = 0.0) -> Mended:
    """The mended copy gives the twin's scores and the twin's gradients."""
    done = mended_copy(make, check, fault)
    torch.manual_seed(0)
    sound = twin()
    sound.load_state_dict(done.model.state_dict())
    labels = torch.arange(len(IMAGES))
    for mode in (False, True):
        answers = [each.train(mode)(IMAGES) for each in (sound, done.model)]
        assert torch.allclose(*answers, rtol=tolerance, atol=tolerance)
    for scores in answers:
        nn.functional.cross_entropy(scores, labels).backward()
    theirs = dict(done.model.named_parameters())
    for name, parameter in sound.named_parameters():
        its = theirs[name].grad
        assert parameter.grad is not None
        assert its is not None, name
        assert torch.allclose(parameter.grad, its, rtol=tolerance, atol=tolerance), name
    return done
