"""timm's models, tiny and random: the plain ones, in which the number of tokens stays, here; those that grow coarser in `healthy_pyramids`."""

from __future__ import annotations

from functools import partial
from typing import Any

from healthy_case import Healthy, peer
from torch import nn

PLAIN: dict[str, Any] = {"img_size": 32, "patch_size": 4, "embed_dim": 48, "depth": 2, "num_heads": 4}


def timm_model(name: str, fused: bool = True, **settings: Any) -> nn.Module:
    """`fused` chooses torch's scaled_dot_product_attention, or the steps one by one."""
    peer("timm.layers").set_fused_attn(fused)
    made: nn.Module = peer("timm").create_model(name, pretrained=False, num_classes=10, **settings)
    return made


def timm_case(name: str, settings: dict[str, Any], size: int = 32, label: str = "", fused: bool = True) -> Healthy:
    return Healthy(
        f"timm {name}{label and ', '}{label}", "timm", partial(timm_model, name, fused, **settings), image_size=size
    )


# fmt: off
AS_THEY_ARE = (
    "vit_tiny_patch16_224", "vit_medium_patch16_gap_240", "vit_medium_patch16_reg4_gap_256", "vit_little_patch16_reg1_gap_256",
    "vit_wee_patch16_reg1_gap_256", "vit_pwee_patch16_reg1_gap_256", "vit_dwee_patch16_reg1_gap_256", "vit_dpwee_patch16_reg1_gap_256",
    "vit_base_patch16_clip_224", "vit_base_patch16_clip_quickgelu_224", "vit_base_patch16_siglip_224", "vit_base_patch16_siglip_gap_224",
    "vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "vit_small_plus_patch16_dinov3_qkvb",
    "vit_small_patch16_18x2_224", "vit_base_patch16_xp_224", "vit_base_patch16_rpn_224", "vit_so150m2_patch16_reg1_gap_256",
    "vit_so150m_patch16_reg4_map_256", "vit_intern300m_patch14_448", "flexivit_small", "aimv2_large_patch14_224", "vit_giant_patch14_dinov2",
    "vit_relpos_small_patch16_224", "vit_relpos_base_patch16_clsgap_224", "vit_relpos_medium_patch16_rpn_224", "vit_srelpos_small_patch16_224",
    "vit_base_patch16_rope_reg1_gap_256", "vit_small_patch16_rope_224", "vit_small_patch16_rope_ape_224", "vit_small_patch16_rope_mixed_224",
    "vit_small_patch16_rope_mixed_ape_224", "vit_pe_core_tiny_patch16_384", "vit_pe_spatial_tiny_patch16_512",
    "deit_tiny_patch16_224", "deit_tiny_distilled_patch16_224", "deit3_small_patch16_224", "cait_xxs24_224",
    "beit_base_patch16_224", "beitv2_base_patch16_224", "beit3_base_patch16_224",
    "eva_large_patch14_196", "eva_giant_patch14_224", "eva02_tiny_patch14_224", "eva02_base_patch14_448", "eva02_base_patch16_clip_224",
    "test_vit3",
)
NAFLEX = ("naflexvit_base_patch16_gap", "naflexvit_base_patch16_map", "naflexvit_base_patch16_par_gap", "naflexvit_base_patch16_siglip")
TNT = ("tnt_s_patch16_224", "tnt_s_legacy_patch16_224")
NESTED = {"inner_dim": 12, "num_heads_outer": 4, "num_heads_inner": 2, "first_stride": 2}
DEEP = (
    "vit_tiny_patch16_224", "vit_base_patch16_rpn_224", "vit_small_patch14_reg4_dinov2", "vit_srelpos_small_patch16_224", "flexivit_small",
    "deit3_small_patch16_224", "deit_tiny_distilled_patch16_224", "cait_xxs24_224", "beit_base_patch16_224", "eva02_tiny_patch14_224",
)
STEPWISE = ("vit_tiny_patch16_224", "deit3_small_patch16_224", "beit_base_patch16_224", "eva02_tiny_patch14_224")
WORDS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("vit_tiny_patch16_224", "class token and registers at the mean", {"global_pool": "avg", "reg_tokens": 2, "pool_include_prefix": True}),
    ("vit_tiny_patch16_224", "largest", {"global_pool": "max", "class_token": False}),
    ("vit_tiny_patch16_224", "no position", {"pos_embed": "none"}),
    ("vit_tiny_patch16_224", "layer scale from 1e-6, dropouts", {"init_values": 1e-6, "drop_path_rate": 0.2, "proj_drop_rate": 0.1}),
    ("samvit_base_patch16_224", "", {"window_size": 4, "global_attn_indexes": (1,), "neck_chans": 32}),
    ("xcit_nano_12_p16_224", "", {"patch_size": 8, "img_size": 64}),
    ("xcit_tiny_12_p8_224", "", {"patch_size": 8, "img_size": 64}),
    ("convit_tiny", "", {"depth": 3, "local_up_to_layer": 1, "embed_dim": 12}),
    ("qwen3_vit_88m", "", {"pos_embed_grid_size": 6}),
    ("deepseek_vit_412m", "", {}),
    ("gemma4_vit_167m", "", {"head_dim": 12, "intermediate_size": 96, "position_embedding_size": 8}),
)
# fmt: on

CASES = [timm_case(name, PLAIN) for name in AS_THEY_ARE]
CASES += [timm_case(name, {key: PLAIN[key] for key in PLAIN if key != "img_size"}) for name in NAFLEX]
CASES += [timm_case(name, {**PLAIN, "img_size": 16, "depth": 12}, 16, "twelve blocks") for name in DEEP]
CASES += [timm_case(name, PLAIN, label="step by step", fused=False) for name in STEPWISE]
CASES += [timm_case(name, {**PLAIN, **more}, more.get("img_size", 32), label) for name, label, more in WORDS]
CASES += [timm_case(name, {**{key: PLAIN[key] for key in PLAIN if key != "num_heads"}, **NESTED}) for name in TNT]
