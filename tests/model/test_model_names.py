"""Names of models, their published sizes, and what is said about a wrong name or setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitscope._core.errors import ConfigError, ModelError
from vitscope.model.create import build
from vitscope.model.presets import known_names, parse_model, spec_by_name
from vitscope.model.spec import BadViTSpec, GoodViTSpec, ViTSpec, equivalent_vit


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("vit-ti16-224", 5_717_416),  # DeiT, table 1: 5 M; timm vit_tiny_patch16_224: 5.72 M
        ("vit-s16-224", 22_050_664),  # DeiT, table 1: 22 M; timm vit_small_patch16_224: 22.05 M
        ("vit-b16-224", 86_567_656),  # ViT, table 1: 86 M; torchvision vit_b_16: 86,567,656
        ("vit-b32-224", 88_224_232),  # torchvision vit_b_32
        ("vit-l16-224", 304_326_632),  # ViT, table 1: 307 M; torchvision vit_l_16: 304,326,632
        ("vit-h14-224", 632_045_800),  # ViT, table 1: 632 M; torchvision vit_h_14: 632,045,800
    ],
)
def test_presets_have_the_published_number_of_parameters(name: str, published: int) -> None:
    with torch.device("meta"):
        model = build(spec_by_name(name))
    assert sum(p.numel() for p in model.parameters()) == published


def test_every_known_name_has_a_spec() -> None:
    assert len(set(known_names())) == len(known_names())
    for name in known_names():
        spec_by_name(name)
    assert spec_by_name("vit-tiny") == spec_by_name("vit-ti16-224")
    assert spec_by_name("bad-vit") == spec_by_name("bad-vit:batch-mixing") == BadViTSpec()
    assert parse_model({"name": "bad-vit", "fault": "post-norm"}) == spec_by_name("bad-vit:post-norm")
    assert parse_model({"dim": 96, "heads": 3}) == ViTSpec(dim=96, heads=3)


@pytest.mark.parametrize("patch", [4, 8, 14, 16, 32])
@pytest.mark.parametrize("word", ["ti", "s", "b", "l", "h"])
def test_the_pattern_of_names(word: str, patch: int) -> None:
    spec = spec_by_name(f"vit-{word}{patch}-224")
    assert isinstance(spec, ViTSpec)
    assert (spec.patch_size, spec.image_size) == ((patch, patch), (224, 224))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit-b16-225", r"225×225 does not divide into patches of 16×16; the nearest that does is vit-b16-224"),
        ("vit-b14-384", r"the nearest that does is vit-b14-378"),
        ("vit-b7-224", "no preset of patch 7; choose from 4, 8, 14, 16, 32"),
        ("vit-b16-400", "image size 400 is outside the presets' 32 to 384"),
        ("god-vit", r"no built-in model 'god-vit' \(did you mean 'good-vit'\?\)"),
        ("vit-bas", r"did you mean 'vit-base'\?"),
        (
            "bad-vit:postnorm",
            r"no fault 'postnorm' of bad-vit \(did you mean 'post-norm'\?\); it has: none, batch-mixing",
        ),
        ("resnet50", "no built-in model 'resnet50'; see 'vitscope models'"),
    ],
)
def test_a_wrong_name_gets_the_nearest_and_the_way_on(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        spec_by_name(name)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"dimm": 8}, r"unknown key 'model.dimm' \(did you mean 'dim'\?\)"),
        ({"position": "learnt"}, r"model.position is 'learnt', expected one of .*\(did you mean 'learned'\?\)"),
        ({"dim": -1}, r"model.dim is -1: input should be greater than 0"),
        ({"dropout": 1.0}, r"model.dropout is 1.0: input should be less than 1"),
        ({"dim": 10, "heads": 3}, "dim 10 does not divide among 3 heads"),
        (
            {"image_size": 30, "patch_size": 4},
            "image_size 30×30 does not divide into patches of 4×4; the nearest .* is 32×32",
        ),
        ({"image_size": [32, 30], "patch_size": 4}, "image_size 32×30 does not divide"),
        ({"image_size": 0}, "must be at least 1 pixel"),
        ({"patch_embedding": "conv-tokenizer"}, "a conv-tokenizer of 1 layers cuts patches of 2×2, not of 16×16"),
        ({"position": "sincos", "dim": 6, "heads": 1}, "'sincos' needs a dim that 4 divides, not 6"),
        ({"position": "rotary", "dim": 18, "heads": 3}, "'rotary' needs a head width .* that 4 divides, not 6"),
        ({"name": 3}, "model.name is 3, expected the name of a built-in model"),
        ({"name": "good-vit", "registers": 2}, "unknown key 'model.registers'"),
        (
            {"name": "bad-vit:none", "fault": "post-norm"},
            "model.fault is 'post-norm', but the name says 'bad-vit:none'",
        ),
    ],
)
def test_a_wrong_setting_gets_one_sentence(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse_model(values)
    assert "\n" not in str(caught.value)


def test_a_spec_survives_its_dictionary() -> None:
    for spec in (ViTSpec(image_size=(8, 16), patch_size=8), GoodViTSpec(dim=96), BadViTSpec(fault="post-norm")):
        assert parse_model(spec.to_dict()) == spec


def test_specimens_are_plain_vits_of_known_switches() -> None:
    good, bad = equivalent_vit(GoodViTSpec()), equivalent_vit(BadViTSpec())
    assert (good.qkv_bias, good.patch_embedding) == (False, "linear")
    assert (bad.qkv_bias, bad.patch_embedding) == (True, "conv")
    assert equivalent_vit(good) is good
