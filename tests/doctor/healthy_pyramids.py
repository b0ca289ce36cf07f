"""timm's models that grow coarser on their way, tiny and random: windows, pooled keys, convolutions between the blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from healthy_case import Healthy, peer
from healthy_timm import timm_case, timm_model
from torch import nn

FOUR: dict[str, Any] = {"depths": (1, 1, 1, 1), "embed_dims": (16, 24, 32, 48)}
HEADS: dict[str, Any] = {"num_heads": (1, 2, 4, 4)}
SWIN: dict[str, Any] = {"img_size": 32, "patch_size": 2, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}
DIMS: dict[str, Any] = {"depths": (1, 1, 1, 1), "dims": (16, 24, 32, 48)}
CROSS: dict[str, Any] = {"img_size": 48, "num_heads": (2, 4)}

# fmt: off
WORDS: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("swin_tiny_patch4_window7_224", 32, {**SWIN, "window_size": 4}),
    ("swin_s3_tiny_224", 32, {**SWIN, "window_size": (4, 8)}),
    ("swinv2_tiny_window8_256", 32, {**SWIN, "window_size": 4}),
    ("swinv2_cr_tiny_224", 32, {**SWIN, "window_size": 4}),
    ("swinv2_cr_tiny_ns_224", 32, {**SWIN, "window_size": 4}),
    ("twins_pcpvt_small", 64, {**FOUR, **HEADS, "img_size": 64}),
    ("twins_svt_small", 64, {**FOUR, **HEADS, "img_size": 64, "wss": (4, 4, 4, 4)}),
    ("pit_ti_224", 32, {"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (12, 12, 12), "depth": (1, 1, 1), "heads": (2, 4, 4)}),
    ("pit_ti_distilled_224", 32, {"img_size": 32, "patch_size": 8, "stride": 4, "base_dims": (12, 12, 12), "depth": (1, 1, 1), "heads": (2, 4, 4)}),
    ("coat_tiny", 64, {"img_size": 64, "embed_dims": (16, 16, 16, 16), "serial_depths": (1, 1, 1, 1), "parallel_depth": 1, "num_heads": 8}),
    ("coat_lite_tiny", 64, {"img_size": 64, "embed_dims": (16, 24, 32, 48), "serial_depths": (1, 1, 1, 1), "num_heads": 8}),
    ("crossvit_tiny_240", 48, {**CROSS, "img_scale": (1.0, 0.5), "patch_size": (6, 4), "embed_dim": (24, 48), "depth": ((1, 1, 0),)}),
    ("crossvit_small_240", 48, {**CROSS, "img_scale": (1.0, 1.0), "patch_size": (6, 8), "embed_dim": (48, 48), "depth": ((1, 2, 1),)}),
    ("efficientformer_l1", 224, {**FOUR, "num_vit": 1}),
    ("visformer_tiny", 64, {"img_size": 64, "init_channels": 8, "embed_dim": 48, "depth": (1, 1, 1), "num_heads": 4}),
    ("efficientformerv2_s0", 64, {"img_size": 64, "embed_dims": (16, 24, 32, 48), "depths": (1, 1, 2, 2), "num_vit": 1, "mlp_ratios": 2}),
    ("edgenext_xx_small", 64, {**DIMS, "heads": (4, 4, 4, 4)}),
    ("davit_tiny", 64, {**FOUR, **HEADS, "window_size": 4}),
    ("tiny_vit_5m_224", 64, {**FOUR, **HEADS, "window_sizes": (4, 4, 4, 2)}),
    ("fastvit_sa12", 64, {"layers": (1, 1, 1, 1), "embed_dims": (32, 32, 32, 64)}),
    ("fastvit_mci0", 64, {"layers": (1, 1, 1, 1), "embed_dims": (32, 32, 32, 64)}),
    ("pvt_v2_b0", 64, {**FOUR, **HEADS}),
    ("pvt_v2_b2_li", 64, {**FOUR, **HEADS}),
    ("hiera_tiny_224", 64, {"img_size": (64, 64), "embed_dim": 12, "num_heads": 1, "stages": (1, 1, 1, 1), "mask_unit_size": (8, 8)}),
    ("hiera_small_abswin_256", 64, {"img_size": (64, 64), "embed_dim": 12, "num_heads": 1, "stages": (1, 1, 1, 1), "mask_unit_size": (8, 8)}),
    ("sam2_hiera_tiny", 64, {"embed_dim": 12, "num_heads": 1, "stages": (1, 1, 2, 1), "window_spec": (8, 4, 4, 2), "global_att_blocks": (3,)}),
    ("levit_128", 64, {"img_size": 64, "embed_dim": (24, 32, 48), "key_dim": 8, "depth": (1, 1, 1), "num_heads": (2, 4, 4), "stem_type": "s8"}),
    ("levit_conv_128", 64, {"img_size": 64, "embed_dim": (24, 32, 48), "key_dim": 8, "depth": (1, 1, 1), "num_heads": (2, 4, 4), "stem_type": "s8"}),
    ("swiftformer_xs", 64, {"layers": (1, 1, 1, 1), "embed_dims": (16, 24, 32, 48)}),
    ("shvit_s1", 64, {"embed_dim": (32, 48, 64), "partial_dim": (16, 16, 16), "depth": (1, 1, 1)}),
    ("iformer_t", 64, {**DIMS, "depths": (1, 1, 3, 3), "attn_groups": (0, 0, 1, 1)}),
    ("lowformer_b0", 64, {"width_list": (8, 16, 32, 32, 48), "depth_list": (1, 1, 1, 1, 1), "head_widths": (64, 64)}),
    ("cpubone_b0_bfrobust", 64, {"width_list": (8, 16, 32, 32, 48), "depth_list": (1, 1, 1, 1, 1), "head_widths": (64, 64)}),
    ("csatv2", 64, {**DIMS, "depths": (1, 1, 2, 2), "transformer_depths": (0, 0, 1, 1)}),
    ("efficientvit_b0", 64, {"widths": (8, 16, 32, 32, 64), "depths": (1, 1, 1, 1, 1), "head_dim": 16, "head_widths": (64, 64)}),
    ("efficientvit_m0", 64, {"img_size": 64, "embed_dim": (32, 32, 64), "depth": (1, 1, 1), "num_heads": (2, 2, 2), "window_size": (4, 4, 4)}),
    ("vit_tiny_r_s16_p8_224", 64, {"img_size": 64, "embed_dim": 48, "depth": 2, "num_heads": 4}),
    ("mobilevit_xxs", 64, {}),
    ("mobilevitv2_050", 64, {}),
)
# Which do not let themselves be changed by name: the class, its settings.
CLASSES: tuple[tuple[str, int, dict[str, Any]], ...] = (
    ("volo VOLO", 64, {"img_size": 64, "layers": (1, 1, 1, 1), "embed_dims": (24, 48, 48, 48), "num_heads": (2, 4, 4, 4), "stem_hidden_dim": 16}),
    ("nest Nest", 32, {"img_size": 32, "patch_size": 2, "num_levels": 2, "embed_dims": (24, 48), "num_heads": (2, 4), "depths": (1, 1)}),
    ("gcvit GlobalContextVit", 64, {"img_size": 64, "embed_dim": 12, "depths": (2, 2, 2, 2), "num_heads": (1, 2, 4, 4), "window_size": (4, 4, 4, 2)}),
)
# Settings live in a configuration: module, its table's key, what is changed there and in its transformer's.
MAXX: dict[str, Any] = {"embed_dim": (16, 32, 32), "depths": (1, 1, 1), "stem_width": 16}
IN_WINDOWS: dict[str, Any] = {"dim_head": 16, "window_size": (4, 4), "grid_size": (4, 4)}
CONFIGURED: tuple[tuple[str, str, str, dict[str, Any], dict[str, Any]], ...] = (
    ("maxxvit", "MaxxVit", "maxvit_tiny_tf", {**MAXX, "block_type": ("M", "M", "M")}, IN_WINDOWS),
    ("maxxvit", "MaxxVit", "maxvit_rmlp_pico_rw", {**MAXX, "block_type": ("M", "M", "M")}, IN_WINDOWS),
    ("maxxvit", "MaxxVit", "maxxvit_rmlp_nano_rw", {**MAXX, "block_type": ("M", "M", "M")}, IN_WINDOWS),
    ("maxxvit", "MaxxVit", "coatnet_nano_rw", {**MAXX, "block_type": ("C", "C", "T")}, {"dim_head": 16}),
    ("maxxvit", "MaxxVit", "coatnext_nano_rw", {**MAXX, "block_type": ("C", "T", "T")}, {"dim_head": 16}),
    ("mvitv2", "MultiScaleVit", "mvitv2_tiny", {"embed_dim": 12, "depths": (1, 1, 1, 1)}, {}),
    ("mvitv2", "MultiScaleVit", "mvitv2_small_cls", {"embed_dim": 12, "depths": (1, 1, 1, 1)}, {}),
)
# fmt: on


def _by_class(where: str, settings: dict[str, Any]) -> nn.Module:
    module, name = where.split()
    made: nn.Module = getattr(peer(f"timm.models.{module}"), name)(num_classes=10, **settings)
    return made


def _configured(module: str, kind: str, key: str, changes: dict[str, Any], inner: dict[str, Any]) -> nn.Module:
    room = peer(f"timm.models.{module}")
    config = room.model_cfgs[key]
    more = {"transformer_cfg": replace(config.transformer_cfg, **inner)} if inner else {}
    made: nn.Module = getattr(room, kind)(replace(config, **changes, **more), img_size=(64, 64), num_classes=10)
    return made


def _caformer() -> nn.Module:
    room = peer("timm.models.metaformer")
    mixers = [room.SepConv, room.SepConv, room.Attention, room.Attention]
    norms = [room.LayerNorm2dNoBias] * 2 + [room.LayerNormNoBias] * 2
    made: nn.Module = room.MetaFormer(
        num_classes=10, depths=(1, 1, 1, 1), dims=(16, 32, 32, 64), token_mixers=mixers, norm_layers=norms
    )
    return made


def _vitamin() -> nn.Module:
    room = peer("timm.models.vitamin")
    inside = room.VitConvCfg(norm_layer="layernorm2d", norm_eps=1e-6)
    stem = room.VitCfg(embed_dim=(16, 32, 48), depths=(1, 1, 1), stem_width=16, conv_cfg=inside, head_type="1d")
    return timm_model("vitamin_small_224", embed_cfg=stem, img_size=64, embed_dim=48, depth=2, num_heads=4)


def _case(name: str, build: Callable[[], nn.Module], size: int = 64) -> Healthy:
    return Healthy(f"timm {name}", "timm", build, image_size=size)


CASES = [timm_case(name, settings, size) for name, size, settings in WORDS]
CASES += [_case(where.split()[0], partial(_by_class, where, settings), size) for where, size, settings in CLASSES]
CASES += [_case(each[2], partial(_configured, *each)) for each in CONFIGURED]
CASES += [_case("caformer", _caformer), _case("vitamin_small_224", _vitamin)]
