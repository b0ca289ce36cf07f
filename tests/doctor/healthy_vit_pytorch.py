"""vit-pytorch's models, tiny and random."""

from __future__ import annotations

from functools import partial
from typing import Any

from healthy_case import Healthy, peer
from torch import Tensor, nn

PLAIN: dict[str, Any] = {
    "image_size": 32, "patch_size": 4, "num_classes": 10, "dim": 48, "depth": 2, "heads": 4, "mlp_dim": 96, "dim_head": 12,
}  # fmt: skip

HEADS: dict[str, Any] = {"heads": 4, "mlp_dim": 96, "dim_head": 12}
MAXVIT: dict[str, Any] = {"dim": 16, "depth": (1, 1), "dim_head": 16, "dim_conv_stem": 16, "window_size": 4}
LEVIT: dict[str, Any] = {"depth": 1, "heads": (2, 4, 4), "mlp_mult": 2, "dim_key": 8, "dim_value": 16}
CCT: dict[str, Any] = {"img_size": 32, "embedding_dim": 48, "num_layers": 2, "num_heads": 4, "mlp_ratio": 2.0}


class OfImages(nn.Module):
    """Around a model that takes a list of images of any sizes."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(list(x))


def _plain(room: str, kind: str, leave_out: tuple[str, ...] = (), **more: Any) -> nn.Module:
    settings = {key: value for key, value in {**PLAIN, **more}.items() if key not in leave_out}
    made: nn.Module = getattr(peer(f"vit_pytorch.{room}"), kind)(**settings)
    return made


def _other(room: str, kind: str, settings: dict[str, Any]) -> nn.Module:
    made: nn.Module = getattr(peer(f"vit_pytorch.{room}"), kind)(num_classes=10, **settings)
    return made


def _case(label: str, build: Any, size: int = 32) -> Healthy:
    return Healthy(f"vit-pytorch {label}", "vit-pytorch", build, image_size=size)


# fmt: off
LIKE_VIT: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("ViT", "vit", "ViT", {}), ("ViT, mean, dropouts", "vit", "ViT", {"pool": "mean", "dropout": 0.1, "emb_dropout": 0.1}),
    ("SimpleViT", "simple_vit", "SimpleViT", {}), ("DeepViT", "deepvit", "DeepViT", {}), ("RvT", "rvt", "RvT", {}),
    ("CaiT", "cait", "CaiT", {"cls_depth": 1, "layer_dropout": 0.05}), ("XCiT", "xcit", "XCiT", {"cls_depth": 1}),
    ("parallel ViT", "parallel_vit", "ViT", {}), ("JetViT, of whose kinds of attention one is used", "jet_vit", "JetViT", {}),
    ("ViT for small data sets", "vit_for_small_dataset", "ViT", {}), ("learnable memory", "learnable_memory_vit", "ViT", {}),
    ("flash", "simple_flash_attn_vit", "SimpleViT", {}),
    ("U-ViT", "simple_uvit", "SimpleUViT", {}), ("residuals attended", "simple_vit_attn_residual", "SimpleViTAttnResidual", {}),
    ("orthogonal residual", "simple_vit_orthog_residual_update", "SimpleViT", {}), ("nViT", "normalized_vit", "nViT", {}),
    ("frequencies", "simple_vit_with_fft", "SimpleViT", {"freq_patch_size": 4}), ("patch dropout", "vit_with_patch_dropout", "ViT", {}),
    ("hyper-connections", "simple_vit_with_hyper_connections", "SimpleViT", {"num_residual_streams": 2}),
    ("simple, patch dropout", "simple_vit_with_patch_dropout", "SimpleViT", {}),
    ("registers", "simple_vit_with_register_tokens", "SimpleViT", {}), ("value residual", "simple_vit_with_value_residual", "SimpleViT", {}),
    ("position by projection", "simple_vit_with_relative_proj_pos_bias", "SimpleViT", {}), ("ViT-5", "vit_5", "ViT", {}),
    ("specialized class token", "simple_vit_with_specialized_cls", "SimpleViT", {}), ("mp3", "mp3", "ViT", {}), ("VAT's ViT", "vat", "ViT", {}),
    ("sparse gating", "simple_vit_with_sparse_gating", "SimpleViTWithSparseGating", {}), ("DetPool", "vit_detpool", "ViTDetPool", {}),
    ("patch merger", "vit_with_patch_merger", "ViT", {}), ("decorrelation", "vit_with_decorr", "ViT", {}),
    ("Keel post-norm", "vit_with_keel_post_ln", "ViT", {}),
    ("DCA", "attn_residual_with_dca_simple_vit", "SimpleViT", {
        }), ("JumboViT", "jumbo_vit", "JumboViT", {"mlp_dim": 2, "jumbo_cls_k": 2, "jumbo_ff_mult": 1 / 48}),
)
OTHERS: tuple[tuple[str, str, str, int, dict[str, Any]], ...] = (
    ("T2TViT", "t2t", "T2TViT", 32, {"image_size": 32, "dim": 48, **HEADS, "depth": 2, "t2t_layers": ((3, 2), (3, 2))}),
    ("CrossViT", "cross_vit", "CrossViT", 48, {
        "image_size": 48, "depth": 1, "sm_dim": 24, "lg_dim": 48, "sm_patch_size": 6, "lg_patch_size": 8, "sm_enc_heads": 2, "sm_enc_mlp_dim": 48,
        "lg_enc_depth": 1, "sm_enc_dim_head": 12, "lg_enc_heads": 4, "lg_enc_mlp_dim": 96, "lg_enc_dim_head": 12, "cross_attn_depth": 1,
        "cross_attn_heads": 4,
        "cross_attn_dim_head": 12}),
    ("PiT", "pit", "PiT", 32, {"image_size": 32, "patch_size": 8, "dim": 24, "depth": (1, 1), "heads": 2, "mlp_dim": 48, "dim_head": 12}),
    ("LeViT", "levit", "LeViT", 128, {"image_size": 128, "dim": (32, 48, 64), **LEVIT}),
    ("CvT", "cvt", "CvT", 64, {"s1_emb_dim": 16, "s2_emb_dim": 24, "s3_emb_dim": 48, "s2_heads": 2, "s3_heads": 2, "s2_depth": 1, "s3_depth": 1}),
    ("TwinsSVT", "twins_svt", "TwinsSVT", 32, {
        "s1_emb_dim": 16, "s1_local_patch_size": 4, "s1_global_k": 4, "s2_emb_dim": 24, "s2_local_patch_size": 4, "s2_global_k": 4, "s3_emb_dim": 32,
        "s3_local_patch_size": 2, "s3_global_k": 2, "s3_depth": 1, "s4_emb_dim": 48, "s4_local_patch_size": 1, "s4_global_k": 1, "s4_depth": 1}),
    ("CrossFormer", "crossformer", "CrossFormer", 64, {
        "dim": (32, 32, 48, 64), "depth": (1, 1, 1, 1), "global_window_size": (4, 2, 2, 1), "local_window_size": 2}),
    ("RegionViT", "regionvit", "RegionViT", 64, {"dim": (32, 32, 48, 64), "depth": (1, 1, 1, 1), "window_size": 2}),
    ("ScalableViT", "scalable_vit", "ScalableViT", 64, {
        "dim": 16, "depth": (1, 1, 1, 1), "heads": (1, 2, 2, 4), "reduction_factor": (8, 4, 2, 1), "window_size": (8, 4, None, None)}),
    ("SepViT", "sep_vit", "SepViT", 56, {"dim": 24, "depth": (1,), "heads": (2,), "dim_head": 12}),
    ("MaxViT", "max_vit", "MaxViT", 64, MAXVIT),
    ("MaxViT with registers", "max_vit_with_registers", "MaxViT", 64, MAXVIT),
    ("NesT", "nest", "NesT", 32, {
        "image_size": 32, "patch_size": 4, "dim": 24, "heads": 2, "num_hierarchies": 2, "block_repeats": (1, 1), "dim_head": 12}),
    ("MobileViT", "mobile_vit", "MobileViT", 64, {
        "image_size": (64, 64), "dims": [24, 32, 48], "channels": [8, 8, 12, 12, 16, 16, 24, 24, 32, 32, 64], "depths": (1, 1, 1)}),
    ("LookViT, a table of positions unread", "look_vit", "LookViT", 32, {
        "dim": 48, "image_size": 32, "depth": 2, "patch_size": 8, "heads": 4, "mlp_factor": 2, "dim_head": 12, "highres_patch_size": 4,
        "cross_attn_heads": 4, "cross_attn_dim_head": 12, "patch_conv_kernel_size": 3}),
    ("CCT", "cct", "CCT", 32, {**CCT, "n_conv_layers": 2}),
    ("CCT, sine", "cct", "CCT", 32, {**CCT, "positional_embedding": "sine"}),
    ("LoopedViT", "looped_vit", "LoopedViT", 32, {
        "image_size": 32, "patch_size": 4, "dim": 48, "pre_loop_depth": 1, "num_looped_blocks": 1, "post_loop_depth": 1, "loop_depth": 2, "heads": 4,
        "dim_head": 12, "mlp_dim": 96}),
    ("WWT, parts of the last layer unread", "wwt", "WWT", 32, {
        "image_size": 32, "patch_size": 4, "dim": 48, "depth": 2, "num_slots": 8, "heads": 4, "dim_head": 12, "mlp_dim": 96}),
)
# fmt: on


def _memories() -> nn.Module:
    """The adapter of the learnable memory: the ViT inside does not learn any more."""
    inside = _plain("learnable_memory_vit", "ViT")
    made: nn.Module = peer("vit_pytorch.learnable_memory_vit").Adapter(
        vit=inside, num_classes=10, num_memories_per_layer=4
    )
    return made


def _efficient() -> nn.Module:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(48, 4, 96, batch_first=True), 2, enable_nested_tensor=False
    )
    return _other("efficient", "ViT", {"image_size": 32, "patch_size": 4, "dim": 48, "transformer": encoder})


def _headless() -> nn.Module:
    """Its last layer is a norm of the mean token: the head stands outside."""
    return nn.Sequential(_plain("simple_vit_with_qk_norm", "SimpleViT"), nn.Linear(48, 10))


def _na_vit(room: str) -> nn.Module:
    return OfImages(_plain(room, "NaViT", token_dropout_prob=0.1))


CASES = [_case(label, partial(_plain, room, kind, **more)) for label, room, kind, more in LIKE_VIT]
CASES += [_case(label, partial(_other, room, kind, settings), size) for label, room, kind, size, settings in OTHERS]
CASES += [
    _case("memory adapter", _memories),
    _case("efficient ViT around torch's encoder", _efficient),
    _case("QK norm", _headless),
    _case("NaViT", partial(_na_vit, "na_vit")),
    _case("NaViT, nested, without a gradient of the image", partial(_na_vit, "na_vit_nested_tensor")),
]
