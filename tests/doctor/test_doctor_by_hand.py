"""What is examined where no softmax of torch's is in a model: written out it is one; and what needs no map is examined without any softmax."""

from functools import partial

import pytest
import sick_by_hand
import torch
from examined_sick import by_the_check_concerned
from sick_by_hand import CORES, OfCore
from sick_case import Case
from sound_hosts import ConvHost, LinearHost
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose

pytestmark = pytest.mark.e2e  # whole examinations

NAMED = {
    "M18": "skip-missing",
    "M4": "patches-cut-wrong",
    "M7": "softmax-over-the-wrong-axis",
    "M8": "attention-not-scaled",
    "M9": "weights-always-nearly-even",
    "M10": "scaled-behind-the-softmax",
}
INSIDE = ["patch-layout", "position", "token-mixing", "attention", "residual"]


@pytest.mark.parametrize("case", sick_by_hand.CASES, ids=lambda case: case.name)
def test_it_is_named(case: Case) -> None:
    of_mixing = {"apart": "attention-between-heads", "alone": "patches-never-meet", "causal": "causal-mask"}
    meant = NAMED.get(case.mode) or of_mixing[case.name.split("-")[0]]
    found = by_the_check_concerned(case).findings
    assert [(each.id, each.severity) for each in found] == [(meant, case.severity)]


@pytest.mark.parametrize("host", [ConvHost, LinearHost])
@pytest.mark.parametrize("name", sorted(CORES))
def test_without_a_fault_nothing_is_found(name: str, host: type[ConvHost] | type[LinearHost]) -> None:
    torch.manual_seed(0)
    found = diagnose(host(partial(OfCore, CORES[name])), image_size=32, checks=INSIDE)
    assert found.findings == ()
    skipped = {"written-out": [], "linear": ["token-mixing", "attention"], "efficient": ["token-mixing", "attention"]}
    assert [each.check for each in found.skipped] == skipped.get(name, ["attention"])


class Descending(nn.Module):
    """A step down the energy of Hopfield's, whose gradient is taken within the forward (Hoover et al. 2023)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        with torch.enable_grad():
            given = x if x.requires_grad else x.detach().requires_grad_(True)
            q, k = (f(given).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k))
            energy = -(q @ k.mT * q.shape[-1] ** -0.5).logsumexp(dim=-1).sum()
            (update,) = torch.autograd.grad(energy, given, create_graph=True)
        return -update


def test_gradients_within_a_forward_are_not_taken_for_attentions() -> None:
    torch.manual_seed(0)
    found = diagnose(LinearHost(Descending), image_size=32, checks=["token-mixing", "attention", "residual"])
    assert found.findings == ()
    assert {skip.check for skip in found.not_made} == {"token-mixing", "attention", "residual"}
    assert "computes gradients itself" in found.not_made[0].why.en
