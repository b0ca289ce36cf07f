"""Checkpoints of the old kind hide nothing from the doctor, and cut for it what they cut for a training."""

from __future__ import annotations

import pytest
import torch
import torch.utils.checkpoint
from test_doctor_forward import Small, examined
from torch import Tensor
from torch.utils.checkpoint import checkpoint

pytestmark = pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
CHECKS = ("input-blindness", "pixel-coverage", "parameters")


class Checkpointed(Small):
    """Sound: its norm is run again in the backward, the old way."""

    def pool(self, x: Tensor) -> Tensor:
        return checkpoint(self.norm, x, use_reentrant=True).mean(dim=1)


class CutBefore(Checkpointed):
    """Nothing that the checkpoint is given learns, so nothing in it does."""

    def between(self, x: Tensor) -> Tensor:
        return x.detach()


def test_no_check_is_lost() -> None:
    found = examined(Checkpointed(), *CHECKS)
    assert (found.findings, found.skipped) == ((), ())
    assert torch.utils.checkpoint.CheckpointFunction.__name__ == "CheckpointFunction"


def test_what_a_checkpoint_cuts_is_cut() -> None:
    found = {each.id: each for each in examined(CutBefore(), *CHECKS).findings}
    assert found["cut-from-the-graph"].severity == "error"
