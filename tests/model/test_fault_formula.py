"""Each fault of bad-vit against its formula: the forward once more, written flat, from the weights alone, in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, images_for, specimen
from torch import Tensor, nn
from torch.nn import functional as F

from vitscope.model.presets import FAULTS
from vitscope.model.specimens.spec import BadViTSpec


def spec_of(fault: str, **sizes: Any) -> BadViTSpec:
    return BadViTSpec.parse({**SPECIMEN, "fault": fault, **sizes})


def formula(w: dict[str, Tensor], spec: BadViTSpec, images: Tensor) -> Tensor:
    """The scores in evaluation, without dropout."""
    fault, batch = spec.fault, len(images)
    heads, width = spec.heads, spec.head_dim

    def norm(name: str, x: Tensor) -> Tensor:
        return F.layer_norm(x, (spec.dim,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def attention(name: str, x: Tensor) -> Tensor:
        if fault.startswith("batch-mixing"):
            x = x.transpose(0, 1)  # what should be the tokens' axis is the batch's
        q, k, v = F.linear(x, w[f"{name}.in_proj_weight"], w[f"{name}.in_proj_bias"]).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (heads, width)).transpose(1, 2) for t in (q, k, v))
        mixed = (q @ k.mT / width**0.5).softmax(-1) @ v
        x = F.linear(mixed.transpose(1, 2).flatten(2), w[f"{name}.out_proj.weight"], w[f"{name}.out_proj.bias"])
        return x.transpose(0, 1) if fault.startswith("batch-mixing") else x

    def mlp(name: str, x: Tensor) -> Tensor:
        x = F.linear(x, w[f"{name}.fc1.weight"], w[f"{name}.fc1.bias"])
        x = x if fault == "mlp-without-activation" else F.gelu(x)
        return F.linear(x, w[f"{name}.fc2.weight"], w[f"{name}.fc2.bias"])

    x = F.conv2d(images, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=spec.patch_size)
    x = x.reshape(batch, spec.patches, spec.dim) if fault == "scrambled-patches" else x.flatten(2).mT
    x = torch.cat([w["cls_token"].expand(batch, 1, -1), x], dim=1)
    x = x if fault == "no-position" else x + w["pos_embed"]
    for layer in range(spec.depth):
        block = f"blocks.{layer}"
        if fault == "no-residual":
            x = attention(f"{block}.attn", norm(f"{block}.norm1", x))
            x = mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
        elif fault == "post-norm":
            x = norm(f"{block}.norm1", x + attention(f"{block}.attn", x))
            x = norm(f"{block}.norm2", x + mlp(f"{block}.mlp", x))
        else:
            x = x + attention(f"{block}.attn", norm(f"{block}.norm1", x))
            x = x + mlp(f"{block}.mlp", norm(f"{block}.norm2", x))
    x = x if fault == "norm-unused" else norm("norm", x)
    x = x.mean(1) if fault == "batch-mixing-mean" else x[:, 0]
    scores = F.linear(x, w["head.weight"], w["head.bias"])
    return scores.softmax(-1) if fault == "softmax-head" else scores


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_its_formula(fault: str) -> None:
    spec = spec_of(fault, dropout=0.0)
    model, images = specimen(spec), images_for(spec)
    with torch.no_grad():
        assert torch.allclose(model(images), formula(model.state_dict(), spec, images), atol=1e-10, rtol=0)


@pytest.mark.parametrize(("fault", "expected"), [("none", 0.0), ("dropout-always-on", 0.5)])
def test_dropout_always_on_drops_at_each_of_its_places_in_evaluation(fault: str, expected: float) -> None:
    torch.manual_seed(0)
    model = specimen(spec_of(fault, dropout=0.5))
    assert not model.training
    block, images = model.blocks[0], images_for(model.spec, 60)
    into_fc2: list[Tensor] = []
    block.mlp.fc2.register_forward_pre_hook(lambda _m, given: into_fc2.append(given[0]))
    with torch.no_grad():
        embedded = model.embed(images)
        out_of_mlp = block.mlp(embedded)
        nn.init.zeros_(block.mlp.fc2.weight)
        nn.init.zeros_(block.mlp.fc2.bias)
        dropped = {
            "embedding": embedded == 0,
            "attention output": block(embedded) == embedded,  # where nothing was added
            "behind the activation": into_fc2[0] == 0,
            "MLP output": out_of_mlp == 0,
        }
    assert {place: where.double().mean().item() for place, where in dropped.items()} == pytest.approx(
        dict.fromkeys(dropped, expected), abs=0.03
    )
