"""The peers are the same ViT: parameters but for the written difference, FLOPs on the explicit path, scores from images. Absent peers skip."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from bench_samples import TINY
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vitscope.bench.peers import ATTENTIONS, build_peer, expected_difference, settings_of
from vitscope.bench.plan import MODELS, OURS, PEERS, Cell
from vitscope.bench.tasks import make_step
from vitscope.model.size import size_of
from vitscope.model.spec import ViTSpec

SOURCES = Path(__file__).parents[2] / "src" / "vitscope"


@pytest.fixture(params=PEERS)
def peer(request: pytest.FixtureRequest) -> str:
    name = str(request.param)
    if find_spec(name.replace("-", "_")) is None:
        pytest.skip(f"{name} is not installed; the extra 'bench' has it")
    return name


@pytest.mark.parametrize(
    "spec", [TINY, MODELS["specimen"], TINY.changed(depth=3, heads=4)], ids=["tiny", "specimen", "other"]
)
def test_the_same_parameters_and_flops(peer: str, spec: ViTSpec) -> None:
    for attention in ATTENTIONS.get(peer, ("default",)):
        model = build_peer(
            peer, spec, attention
        ).train()  # in evaluation torchvision's attention is one kernel that nobody counts
        assert sum(p.numel() for p in model.parameters()) == size_of(spec).parameters + expected_difference(peer, spec)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
            scores = model(torch.randn(2, spec.channels, *spec.image_size))
        assert scores.shape == (2, spec.classes)
        assert counter.get_total_flops() == 2 * size_of(spec).flops


def test_the_written_difference_by_hand() -> None:
    assert expected_difference("vit-pytorch", MODELS["specimen"]) == -3 * 192 * 6 + 2 * 48 + 2 * 192 == -2976
    assert [expected_difference(name, TINY) for name in ("timm", "transformers", "torchvision")] == [0, 0, 0]


@pytest.mark.parametrize("mode", ["train", "inference"])
def test_every_setting_takes_a_step(peer: str, mode: Any) -> None:
    cells = [Cell("tiny", peer, mode, precision, False, 2) for precision in ("fp32", "bf16")]
    for cell in cells:
        for setting in settings_of(cell):
            step, words = make_step(cell, TINY, setting)
            assert bool(torch.isfinite(step().detach().float()).all()), words
            assert ("bf16" in words) == (cell.precision == "bf16")


def test_settings() -> None:
    def settings(library: str, mode: Any, precision: Any) -> tuple[str, ...]:
        return settings_of(Cell("tiny", library, mode, precision, False, 2))

    assert settings(OURS, "train", "bf16") == ("default",)
    assert settings("vit-pytorch", "train", "bf16") == ("default autocast",)
    assert settings("torchvision", "inference", "bf16") == ("default weights", "default autocast")
    assert settings("transformers", "train", "fp32") == ("sdpa fp32", "eager fp32")
    assert len(settings("timm", "inference", "bf16")) == 4


def test_torchvision_is_importable_beside_any_torch() -> None:
    if find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed; the extra 'bench' has it")
    program = "from vitscope.bench.torchvision_names import make_torchvision_importable as f; assert f() and f(); import torchvision.models"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_only_the_bench_touches_the_peers() -> None:
    for file in SOURCES.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.parent.name != "bench":
            assert "torchvision_names" not in text, file
            assert "vit_pytorch" not in text.replace("vit_pytorch/", ""), file
