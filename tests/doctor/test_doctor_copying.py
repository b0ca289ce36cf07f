"""A diagnosis leaves everything of the user's as it was."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from sick_by_hand import OfCore, written_out
from sound_hosts import LinearHost
from torch import Tensor, nn

import vitscope
from vitscope._core.errors import ModelError, UsageError
from vitscope.doctor.copying import copied, copy_of, hidden, moved
from vitscope.doctor.examine import diagnose

CHEAP = ["forward", "determinism", "batch-independence", "input-blindness", "parameters"]


def small() -> nn.Module:
    torch.manual_seed(3)
    return vitscope.create_model("vit-ti8-32", depth=2, dim=32, heads=2, mlp_dim=64, classes=10)


def test_nothing_of_the_users_changes() -> None:
    model = small().train()
    model.get_submodule("blocks.0").eval()
    seen: list[Tensor] = []
    handle = model.register_forward_hook(lambda module, given, answer: seen.append(answer))
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    seen.clear()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    modes = {name: module.training for name, module in model.named_modules()}
    wants = {name: p.requires_grad for name, p in model.named_parameters()}
    np.random.seed(5)
    torch.manual_seed(5)
    expected = float(np.random.rand()), torch.rand(3)
    np.random.seed(5)
    torch.manual_seed(5)
    found = diagnose(model, image_size=32, checks=CHEAP)
    assert float(np.random.rand()) == expected[0]
    assert torch.equal(torch.rand(3), expected[1])
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in state.items())
    assert all(torch.equal(g, model.get_parameter(name).grad) for name, g in gradients.items())  # type: ignore[arg-type]
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert {name: p.requires_grad for name, p in model.named_parameters()} == wants
    assert len(model._forward_hooks) == 1, "the hook of the user stays"
    assert not seen, "and is not run"
    assert any("hook" in note.en for note in found.notes)
    handle.remove()


def test_no_gpu_is_seeded_or_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed left for a GPU that has not begun would take the place of the user's own; one that has begun allows no forks."""
    model, touched = small(), []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("manual_seed", "manual_seed_all", "get_rng_state", "get_rng_state_all", "set_rng_state", "_lazy_init"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name, **__: touched.append(name))
    found = diagnose(model, image_size=32, checks=[*CHEAP, "attention", "token-mixing", "initial-loss", "gradient"])
    assert found.checks_run
    assert not touched
    vitscope.trace(model, torch.randn(3, 32, 32))
    assert not touched
    torch.manual_seed(0)
    assert touched, "the test would see it"


def test_pythons_own_random_numbers_go_on_as_they_would() -> None:
    """In a process without the tests' type checker, which draws some itself."""
    code = (
        "import random, vitscope\n"
        "model = vitscope.create_model('vit-ti8-32', depth=1, dim=16, heads=1, mlp_dim=16)\n"
        "random.seed(5)\nvitscope.diagnose(model, image_size=32, checks=['determinism'])\nprint(random.random())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.6229016948897019"


def test_the_models_own_failure_leaves_everything_too() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            raise RuntimeError("no such thing")

    model = Fails().train()
    torch.manual_seed(1)
    expected = torch.rand(2)
    torch.manual_seed(1)
    with pytest.raises(ModelError, match="whatever the size of the images, its forward raised RuntimeError"):
        diagnose(model, image_size=32)
    assert model.training
    assert torch.equal(torch.rand(2), expected)


class Unregistered(nn.Module):
    """Layers in a list, a parameter with a history, a plain tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = [nn.Linear(4, 4), nn.Linear(4, 4)]
        self.scale = nn.Parameter(torch.ones(4)) * 2.0
        self.table = {"a": torch.arange(4.0)}
        self.shift = (torch.zeros(4), 3)
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.last(x * self.scale + self.table["a"] + self.shift[0])


def test_what_is_not_registered_is_copied_and_cast_too() -> None:
    model = Unregistered()
    twin, _ = copy_of(model)
    moved(twin, torch.device("cpu"), torch.float64)
    x = torch.randn(3, 4)
    assert torch.allclose(twin(x.double()).float(), model(x), atol=1e-5)
    assert model.layers[0].weight.dtype == torch.float32, "the user's stays"
    twin.layers[0].weight.data.zero_()  # type: ignore[union-attr, operator]
    assert bool(model.layers[0].weight.any())
    places = {each.place for each in hidden(model)}
    assert {"layers[0]", "layers[1]", "scale", "table['a']", "shift[0]"} == places


def test_wrappers_are_looked_into() -> None:
    model = small()
    assert type(copy_of(nn.DataParallel(model))[0]) is type(model)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("a string", "nn.Module, got a str"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(3)), "lazy"),
        (nn.Linear(3, 3, device="meta"), "meta"),
    ],
)
def test_what_is_no_model_is_refused(model: object, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        copy_of(model)


def test_weight_norm_goes_along() -> None:
    model = small()
    nn.init.normal_(model.head.weight)  # type: ignore[union-attr, arg-type]
    model.head = nn.utils.weight_norm(model.head)  # type: ignore[arg-type]
    twin, left_out = copy_of(model)
    x = torch.randn(2, 3, 32, 32)
    assert left_out == 0
    assert torch.allclose(twin(x), model.eval()(x), atol=1e-6)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, "needs the side"),
        ({"image_size": 0}, "no pixels"),
        ({"images": torch.zeros(2, 3, 32)}, "expected floating-point B C H W"),
        ({"images": torch.full((2, 3, 32, 32), float("nan"))}, "NaN"),
        ({"images": torch.randn(2, 3, 32, 32), "labels": torch.tensor([0])}, "2 images and 1 labels"),
        ({"images": torch.randn(2, 3, 32, 32), "labels": torch.tensor([0, 77])}, "run from 0 to 77"),
        ({"labels": torch.tensor([0])}, "without images"),
        ({"image_size": 32, "checks": ["blindness"]}, "no check 'blindness'"),
    ],
)
def test_odd_arguments_get_a_sentence(words: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        diagnose(small(), **words)  # type: ignore[arg-type]


def test_a_cnn_is_refused() -> None:
    cnn = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10), nn.Softmax(-1)
    )
    with pytest.raises(ModelError, match="no attention"):
        diagnose(cnn, image_size=32)


def test_no_scores_is_a_finding() -> None:
    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(2)

    found = diagnose(Tokens(), image_size=32)
    assert [finding.id for finding in found.findings] == ["wrong-output-shape"]
    assert not found.healthy


class Turned(OfCore):
    """Rotary positions as complex numbers, in a buffer; a filter of them that is learned."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__(written_out, dim, heads)
        angles = torch.arange(64)[:, None] * 100.0 ** -torch.linspace(0, 1, dim // heads // 2)
        self.register_buffer("turn", torch.polar(torch.ones_like(angles), angles))
        self.weigh = nn.Parameter(torch.ones(33, dim, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        real, imaginary = self.turn.real, self.turn.imag  # type: ignore[union-attr]
        q, k = (
            torch.stack([a * real - b * imaginary, a * imaginary + b * real], dim=-1).flatten(-2)
            for a, b in (t.unflatten(-1, (-1, 2)).unbind(-1) for t in (q, k))
        )
        y = self.proj(self.core(q, k, v).transpose(1, 2).flatten(2))
        return torch.fft.irfft(torch.fft.rfft(y, dim=1) * self.weigh, n=64, dim=1)


def test_complex_numbers_stay_complex() -> None:
    torch.manual_seed(0)
    model = LinearHost(Turned)
    twin = moved(copied(model), torch.device("cpu"), torch.float64)
    kinds = {name: value.dtype for name, value in (*twin.named_buffers(), *twin.named_parameters())}
    assert kinds["layers.0.1.turn"] == kinds["layers.0.1.weigh"] == torch.complex128
    assert kinds["layers.0.1.qkv.weight"] == torch.float64
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(twin(images.double()).float(), model.eval()(images), rtol=1e-4, atol=1e-5)


def test_a_model_with_complex_numbers_is_examined_as_it_is() -> None:
    torch.manual_seed(0)
    found = diagnose(LinearHost(Turned), image_size=32, checks=["forward", "position", "parameters", "gradient"])
    assert [each.id for each in found.findings if each.severity == "error"] == []
    assert [skip.check for skip in found.not_made] == []
