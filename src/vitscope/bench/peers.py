"""The same ViT in other libraries: in goes a `ViTSpec` and a peer's name, out comes its module, with random weights and no download.

Each peer is built by its own public class, as its own documentation builds it. The same ViT means: the same products (FLOPs equal ours
on the explicit path) and the same parameters but for the differences that `expected_difference` writes down; both are tested.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from torch import Tensor, nn

from vitscope.bench.plan import OF_ONES_OWN, OURS, Cell
from vitscope.bench.torchvision_names import make_torchvision_importable
from vitscope.model.spec import ViTSpec

ATTENTIONS: dict[str, tuple[str, ...]] = {"timm": ("fused", "explicit"), "transformers": ("sdpa", "eager")}
"""Peers that let their users choose how attention is computed; the bench tries each and reports the quicker. A library that is not
here has one way, or chooses by itself."""


def settings_of(cell: Cell) -> tuple[str, ...]:
    """The settings of a library that are tried for a cell, as words; of a peer the quickest is reported.

    Peers run bf16 under autocast, and in inference also with bf16 weights. vitscope has one setting, its default.
    """
    if cell.library == OURS:
        return ("default",)
    numbers: tuple[str, ...] = ("fp32",)
    if cell.precision == "bf16":
        numbers = ("autocast",) if cell.mode == "train" else ("weights", "autocast")
    return tuple(
        f"{attention} {number}" for attention in ATTENTIONS.get(cell.library, ("default",)) for number in numbers
    )


def expected_difference(library: str, spec: ViTSpec) -> int:
    """Parameters that a peer has more than ours, counted out.

    vit-pytorch: no bias on queries, keys and values (3 D less in each of L blocks), and a LayerNorm before (two of a patch's numbers)
    and one behind (2 D) its patch embedding. All others have exactly ours.
    """
    if library != "vit-pytorch":
        return 0
    return -3 * spec.dim * spec.depth + 2 * spec.patch_dim + 2 * spec.dim


def build_peer(library: str, spec: ViTSpec, attention: str = "default") -> nn.Module:
    """A peer's ViT, images B C H W in, scores B Y out.

    Raises:
        ImportError: the peer is not installed or cannot be imported.
    """
    if OF_ONES_OWN.fullmatch(library):
        where, _, name = library.partition(":")
        made: nn.Module = getattr(import_module(where), name)(spec)
        return made
    return _BUILD[library](spec, attention)


def _vit_pytorch(spec: ViTSpec, attention: str) -> nn.Module:
    make_torchvision_importable()
    kind = import_module("vit_pytorch.vit").ViT
    made: nn.Module = kind(
        image_size=spec.image_size[0],
        patch_size=spec.patch_size[0],
        num_classes=spec.classes,
        dim=spec.dim,
        depth=spec.depth,
        heads=spec.heads,
        dim_head=spec.head_dim,
        mlp_dim=spec.mlp_width,
        channels=spec.channels,
    )
    return made


def _timm(spec: ViTSpec, attention: str) -> nn.Module:
    make_torchvision_importable()
    layers, kind = import_module("timm.layers"), import_module("timm.models.vision_transformer").VisionTransformer
    layers.set_fused_attn(attention != "explicit")  # timm's own switch, read when a block is built
    made: nn.Module = kind(
        img_size=spec.image_size[0],
        patch_size=spec.patch_size[0],
        in_chans=spec.channels,
        num_classes=spec.classes,
        embed_dim=spec.dim,
        depth=spec.depth,
        num_heads=spec.heads,
        mlp_ratio=spec.mlp_width / spec.dim,
    )
    return made


class _Logits(nn.Module):
    """transformers gives an object; this gives its scores."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.inner(images).logits
        return scores


def _transformers(spec: ViTSpec, attention: str) -> nn.Module:
    make_torchvision_importable()
    library = import_module("transformers")
    config = library.ViTConfig(
        image_size=spec.image_size[0],
        patch_size=spec.patch_size[0],
        num_channels=spec.channels,
        num_labels=spec.classes,
        hidden_size=spec.dim,
        num_hidden_layers=spec.depth,
        num_attention_heads=spec.heads,
        intermediate_size=spec.mlp_width,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager" if attention == "eager" else "sdpa",
    )
    return _Logits(library.ViTForImageClassification(config))


def _torchvision(spec: ViTSpec, attention: str) -> nn.Module:
    if not make_torchvision_importable():
        raise ImportError("torchvision is not installed or cannot be imported beside this torch")
    made: nn.Module = import_module("torchvision.models").VisionTransformer(
        image_size=spec.image_size[0],
        patch_size=spec.patch_size[0],
        num_layers=spec.depth,
        num_heads=spec.heads,
        hidden_dim=spec.dim,
        mlp_dim=spec.mlp_width,
        num_classes=spec.classes,
    )
    return made


_BUILD: dict[str, Callable[[ViTSpec, str], nn.Module]] = {
    "vit-pytorch": _vit_pytorch,
    "timm": _timm,
    "transformers": _transformers,
    "torchvision": _torchvision,
}


def version_of(library: str) -> str | None:
    """The installed version; None for what has none."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(library)
    except (PackageNotFoundError, ValueError):
        return None
