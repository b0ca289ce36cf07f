"""Names of models, their published sizes, and what is said about a wrong name or setting."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from vitscope._core.errors import ConfigError, ModelError
from vitscope.model.create import build
from vitscope.model.presets import FAULTS, known_names, parse_model, spec_by_name
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.convert import equivalent_vit
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec, printed_vit


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
        ({"dim": -1}, r"model.dim is -1, expected a number greater than 0"),
        ({"dropout": 1.0}, r"model.dropout is 1.0, expected a number less than 1"),
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
        (
            {"name": "good-vit", "registers": 2},
            "model: registers is a switch of the plain ViT, and good-vit is as it was printed; choose a plain ViT",
        ),
        ({"name": "bad-vit", "init": "mimetic"}, r"init is a switch of the plain ViT, .* or leave init out$"),
        ({"name": "good-vit", "dimm": 8}, r"unknown key 'model.dimm' \(did you mean 'dim'\?\)"),
        ({"image_size": "abc"}, r"model.image_size is 'abc', expected a number of pixels or \[height, width\]$"),
        ({"image_size": 32.0}, r"model.image_size is 32.0, expected a number of pixels"),
        ({"image_size": None}, r"model.image_size is null, expected a number of pixels"),
        ({"image_size": [1, 2, 3]}, r"model.image_size is \[1, 2, 3\], expected a number of pixels"),
        ({"patch_size": [16, 8.5]}, r"model.patch_size is \[16, 8.5\], expected a number of pixels"),
        ({"patch_size": [16, True]}, r"model.patch_size is \[16, True\], expected a number of pixels"),
        *(
            ({key: True}, f"model.{key} is true, expected a number$")
            for key in ("depth", "dim", "registers", "mlp_dim", "mlp_ratio", "norm_eps", "layer_scale", "dropout")
        ),
        ({"name": "good-vit", "depth": True}, "model.depth is true, expected a number$"),
        (
            {"mlp_dim": 10, "mlp_ratio": 4},
            "mlp_dim 10 and mlp_ratio 4 both set the width of the MLP; set one of them to null",
        ),
        ({"mlp_ratio": 0.0005}, "mlp_ratio 0.0005 of dim 768 is an MLP without width; choose a larger one, or mlp_dim"),
        (
            {"patch_embedding": "conv-tokenizer", "tokenizer_layers": 3, "patch_size": 8, "tokenizer_widths": [32]},
            r"tokenizer_widths is \[32\], expected 2 numbers, one for each of the 3 tokenizer_layers but the last, .*; change one",
        ),
        (
            {"tokenizer_layers": 2},
            "tokenizer_layers is 2, but patch_embedding 'linear' has no tokenizer; set patch_embedding to",
        ),
        (
            {"tokenizer_widths": [8, 16]},
            r"tokenizer_widths is \[8, 16\], but patch_embedding 'linear' has no tokenizer; .* or leave tokenizer_widths out$",
        ),
        *(
            (
                {key: 0.1},
                f"{key}, dropout on the attention probabilities, is not built here; projection_dropout acts on",
            )
            for key in ("attention_dropout", "attn_drop", "attn_drop_rate")
        ),
        ({"proj_drop": 0.1}, r"unknown key 'model.proj_drop' \(did you mean 'projection_dropout'\?\)"),
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


def test_settings_written_before_projection_dropout_had_its_name_are_read() -> None:
    old = {"mlp_dim": 128, "mlp_ratio": 4.0, "attention_dropout": None}
    assert parse_model(old) == ViTSpec(mlp_dim=128)
    with pytest.raises(ConfigError, match="projection_dropout"):
        parse_model({**old, "attention_dropout": 0.1})


def test_a_width_of_the_mlp_is_set_in_one_of_two_ways() -> None:
    assert ViTSpec(mlp_dim=10).changed(dim=96).mlp_width == 10
    assert ViTSpec(mlp_ratio=2).changed(dim=96).mlp_width == 192
    assert ViTSpec(dim=96).mlp_width == 384


@pytest.mark.parametrize(
    ("word", "sizes"),
    [
        ("tiny", (192, 12, 3, 768)),  # DeiT, table 1
        ("small", (384, 12, 6, 1536)),
        ("base", (768, 12, 12, 3072)),  # ViT, table 1
        ("large", (1024, 24, 16, 4096)),
        ("huge", (1280, 32, 16, 5120)),
    ],
)
def test_presets_have_the_published_widths_heads_and_eps(word: str, sizes: tuple[int, ...]) -> None:
    spec = spec_by_name(f"vit-{word}")
    assert isinstance(spec, ViTSpec)
    assert (spec.dim, spec.depth, spec.heads, spec.mlp_width, spec.norm_eps) == (*sizes, 1e-6)
    with torch.device("meta"):
        model = build(spec.changed(depth=1))
    assert model.blocks[0].attention.heads == spec.heads
    assert {m.eps for m in model.modules() if isinstance(m, torch.nn.LayerNorm)} == {1e-6}


def test_the_specimens_have_three_heads() -> None:
    assert GoodViTSpec().heads == BadViTSpec().heads == 3
    good, bad = build(GoodViTSpec()), build(BadViTSpec())
    assert {layer[0].fn.heads for layer in good.transformer.layers} == {3}
    assert {block.attn.num_heads for block in bad.blocks} == {3}


def test_a_specimen_prints_as_one_plain_vit_whatever_its_fault() -> None:
    assert len({printed_vit(BadViTSpec.parse({"fault": fault})) for fault in FAULTS}) == 1
    assert printed_vit(ViTSpec()) == ViTSpec()
    assert printed_vit(GoodViTSpec()).qkv_bias is False


def test_specimens_are_plain_vits_of_known_switches() -> None:
    good, bad = equivalent_vit(GoodViTSpec()), equivalent_vit(BadViTSpec(fault="none"))
    assert (good.qkv_bias, good.patch_embedding) == (False, "linear")
    assert (bad.qkv_bias, bad.patch_embedding) == (True, "conv")
    assert equivalent_vit(good) is good
