"""Each mend: the check that found the fault finds it no more in the mended copy, no weight has changed, and the model given is as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding
from vitscope.model.create import build
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec
from vitscope.race.repair import Mended, mended
from vitscope.race.ways import is_triangular

pytestmark = pytest.mark.e2e  # whole races

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def bad_vit(fault: BadViTFault) -> nn.Module:
    torch.manual_seed(0)
    spec = BadViTSpec(fault=fault, dim=32, depth=2, heads=2, mlp_dim=64, image_size=(16, 16))
    return build(spec)


class Encoder(nn.Module):
    """A ViT of torch's own encoder."""

    def __init__(self, *, end: nn.Module | None = None, batch_first: bool = True, is_causal: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 32, 4, 4)
        self.place = nn.Parameter(torch.randn(1, 16, 32))
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=batch_first, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)
        self.end = end
        self.is_causal = is_causal

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        mask = torch.full((16, 16), float("-inf")).triu(1).to(x) if self.is_causal else None
        x = self.head(self.blocks(x, mask=mask).mean(dim=1))
        return self.end(x) if self.end is not None else x


def found_in(model: nn.Module, check: str) -> tuple[Finding, ...]:
    return diagnose(model, image_size=16, checks=[check]).findings


def is_mended(model: nn.Module, check: str, fault: str) -> Mended:
    """Proves a mend and gives it."""
    before = copy.deepcopy(model)
    finding = next(each for each in found_in(model, check) if each.id == fault)
    done = mended(model, finding, IMAGES)
    assert done is not None
    assert fault not in {each.id for each in found_in(done.model, check)}
    after = dict(done.model.named_parameters())
    for name, parameter in before.named_parameters():
        assert torch.equal(parameter, after[name]), name
        assert parameter.requires_grad == dict(model.named_parameters())[name].requires_grad
    torch.manual_seed(0)
    one = before.eval()(IMAGES)
    torch.manual_seed(0)
    assert torch.equal(one, model.eval()(IMAGES)), "the model given was changed"
    twin = copy.deepcopy(done.model).eval()  # a training makes copies; a mend must go with them
    assert torch.equal(twin(IMAGES), done.model.eval()(IMAGES))
    assert done.done.en
    assert done.done.ja
    return done


@pytest.mark.parametrize(
    ("fault", "check", "finding"),
    [
        ("batch-mixing", "input-blindness", "class-token-never-sees-a-patch"),
        ("batch-mixing-mean", "batch-independence", "attention-across-the-batch"),
        ("no-position", "position", "position-blind"),
        ("position-frozen-zero", "position", "position-blind"),
        ("scrambled-patches", "patch-layout", "patches-cut-wrong"),
        ("softmax-head", "output", "softmax-in-the-model"),
        ("dropout-always-on", "determinism", "random-in-evaluation"),
        ("cls-detached", "input-blindness", "read-out-detached"),
    ],
)
def test_what_ails_a_specimen_is_mended(fault: BadViTFault, check: str, finding: str) -> None:
    is_mended(bad_vit(fault), check, finding)


def test_torch_s_own_layers_are_made_batch_first() -> None:
    done = is_mended(Encoder(batch_first=False), "batch-independence", "attention-across-the-batch")
    sound = Encoder(batch_first=True)
    sound.load_state_dict(done.model.state_dict())
    assert torch.allclose(sound.eval()(IMAGES), done.model.eval()(IMAGES), atol=1e-5)


def test_a_causal_mask_is_left_out() -> None:
    done = is_mended(Encoder(is_causal=True), "token-mixing", "causal-mask")
    sound = Encoder()
    sound.load_state_dict(done.model.state_dict())
    assert torch.allclose(sound.eval()(IMAGES), done.model.eval()(IMAGES), atol=1e-5)


@pytest.mark.parametrize(
    ("end", "finding"),
    [
        (nn.Softmax(dim=-1), "softmax-in-the-model"),
        (nn.Sigmoid(), "sigmoid-in-the-model"),
        (nn.Tanh(), "bounded-scores"),
        (nn.ReLU(), "rectified-scores"),
        (nn.Dropout(0.5), "dropout-behind-the-head"),
    ],
)
def test_what_squeezes_the_scores_is_taken_out(end: nn.Module, finding: str) -> None:
    done = is_mended(Encoder(end=end), "output", finding)
    sound = Encoder()
    sound.load_state_dict(done.model.state_dict())
    assert torch.equal(sound.eval()(IMAGES), done.model.eval()(IMAGES))


def test_only_the_module_at_the_end_is_taken_out() -> None:
    """A softmax that is registered last and stands in the middle is no end."""

    class Inside(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Softmax(dim=-1)

        def forward(self, x: Tensor) -> Tensor:
            x = self.patches(x).flatten(2).transpose(1, 2) + self.place
            x = self.blocks(x * self.gate(x))
            return self.head(x.mean(dim=1)).softmax(dim=-1)

    done = is_mended(Inside(), "output", "softmax-in-the-model")
    assert isinstance(done.model.get_submodule("gate"), nn.Softmax)


def test_what_nobody_can_mend_is_left() -> None:
    finding = next(each for each in found_in(bad_vit("post-norm"), "residual") if each.id == "post-norm")
    assert mended(bad_vit("post-norm"), finding, IMAGES) is None


def test_a_mend_that_changes_nothing_is_none() -> None:
    finding = next(each for each in found_in(bad_vit("batch-mixing"), "input-blindness"))
    assert mended(bad_vit("none"), finding, IMAGES) is None


def test_triangles() -> None:
    lower = torch.ones(5, 5).tril()
    assert is_triangular(lower)
    assert is_triangular(lower.bool()[None, None])
    assert is_triangular(torch.zeros(5, 5).masked_fill(lower == 0, float("-inf")))
    assert not is_triangular(torch.ones(5, 5))
    assert not is_triangular(lower.T.tril(1))
    assert not is_triangular(torch.eye(5))
    assert not is_triangular(None)


def test_bad_vit_mended_learns_what_it_would_have_without_the_fault() -> None:
    """docs/why-is-this-vit-bad.md says so: the curve of the one is the curve of the other."""
    sick = bad_vit("batch-mixing")
    whole = is_mended(sick, "input-blindness", "class-token-never-sees-a-patch").model
    right, left = bad_vit("none"), copy.deepcopy(sick)
    assert all(torch.equal(a, b) for a, b in zip(right.parameters(), sick.parameters(), strict=True))
    labels = torch.arange(len(IMAGES))
    for model in (whole, right, left):
        model.train()
        torch.manual_seed(0)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        for _ in range(4):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(IMAGES), labels).backward()
            optimizer.step()
    after = [torch.cat([p.detach().flatten() for p in model.parameters()]) for model in (whole, right, left)]
    assert torch.equal(after[0], after[1])
    assert not torch.allclose(after[0], after[2], atol=1e-4)
