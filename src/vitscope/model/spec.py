"""What a ViT is made of, as settings: in go the switches of a recipe, out comes a validated `ViTSpec`. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vitscope._core.preprocessing import Size
from vitscope._core.spec import Spec

Positive = Annotated[int, Field(gt=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
MLP_RATIO = 4.0
TOKENIZER_WIDTH = 64  # channels between the convolutions of a tokenizer of several layers (Compact Transformers' code)
# Dropout on the attention probabilities, as torchvision, transformers and timm call it.
OF_PROBABILITIES = ("attention_dropout", "attn_drop", "attn_drop_rate", "attention_probs_dropout_prob")


class ImageModelSpec(Spec):
    """The sizes that every model here has: the image it takes, its patches, its width and its scores."""

    image_size: Size = (224, 224)
    """Height and width in pixels; one number stands for both."""
    patch_size: Size = (16, 16)
    """Height and width of a patch in pixels; both must divide the image's."""
    channels: Positive = 3
    classes: Positive = 1000
    dim: Positive = 768
    """D, the width of a token."""
    depth: Positive = 12
    """L, the number of encoder blocks."""
    heads: Positive = 12
    """K, the number of attention heads; divides `dim`."""
    dropout: Fraction = 0.0
    """Dropout behind the position embedding, on each attention output and twice in each MLP (ViT, appendix B.1)."""

    @model_validator(mode="after")
    def _sizes_fit(self) -> ImageModelSpec:
        (height, width), (patch_height, patch_width) = self.image_size, self.patch_size
        if min(height, width, patch_height, patch_width) < 1:
            raise ValueError("image_size and patch_size must be at least 1 pixel")
        if height % patch_height or width % patch_width:
            raise ValueError(
                f"image_size {height}×{width} does not divide into patches of {patch_height}×{patch_width}; "
                f"the nearest image_size that does is {_nearest(height, patch_height)}×{_nearest(width, patch_width)}"
            )
        if self.dim % self.heads:
            raise ValueError(f"dim {self.dim} does not divide among {self.heads} heads; choose heads that divide it")
        return self

    @property
    def grid(self) -> tuple[int, int]:
        """Patches down and across."""
        return self.image_size[0] // self.patch_size[0], self.image_size[1] // self.patch_size[1]

    @property
    def patches(self) -> int:
        """N, the number of patches."""
        return self.grid[0] * self.grid[1]

    @property
    def patch_dim(self) -> int:
        """Numbers in one patch: Ph · Pw · C."""
        return self.patch_size[0] * self.patch_size[1] * self.channels

    @property
    def head_dim(self) -> int:
        """E, the width of one head."""
        return self.dim // self.heads


class ViTSpec(ImageModelSpec):
    """The plain ViT and its ablation switches. The defaults are ViT-B/16 (Dosovitskiy et al. 2021, arXiv 2010.11929, table 1)."""

    mlp_dim: Positive | None = None
    """M, the width of the MLP; left out, it is `mlp_ratio` · `dim`."""
    mlp_ratio: PositiveFloat | None = None
    """M / D, instead of `mlp_dim`; with neither, 4 (Vaswani et al. 2017, arXiv 1706.03762, section 3.3: 2048 over 512)."""
    activation: Literal["gelu", "gelu-tanh", "relu", "silu"] = "gelu"
    """GELU (Hendrycks and Gimpel 2016, arXiv 1606.08415), its tanh approximation (the same, section 2), ReLU (Nair and Hinton 2010,
    "Rectified linear units improve restricted Boltzmann machines", ICML), or SiLU (Elfwing et al. 2017, arXiv 1702.03118)."""
    patch_embedding: Literal["linear", "conv", "conv-tokenizer"] = "linear"
    """Cut and multiply (`linear`), the same function as one strided convolution (`conv`), or the convolution + ReLU + pooling stem of
    Compact Transformers (`conv-tokenizer`; Hassani et al. 2021, arXiv 2104.05704, section 3.3)."""
    tokenizer_layers: Annotated[int, Field(ge=1, le=4)] = 1
    """Convolutions in the `conv-tokenizer`; a pooling behind each halves the image, so the patch side is 2 to this power."""
    tokenizer_widths: tuple[Positive, ...] | None = None
    """Channels behind each of them but the last, which gives `dim`; left out, 64, as in the Compact Transformers' code."""
    position: Literal["learned", "sincos", "none", "rotary"] = "learned"
    """Learned table (ViT, section 3.1), fixed 2-D sine-cosine (Chen et al. 2021, arXiv 2104.02057, section 5, "ViT architectures"),
    nothing, or 2-D rotary on queries and keys (Su et al. 2021, arXiv 2104.09864; axial form of Heo et al. 2024, arXiv 2403.13298,
    section 3.2)."""
    pooling: Literal["class-token", "mean"] = "class-token"
    """Read the class token, or average the patch tokens (ViT, appendix D.3); `mean` builds no class token."""
    registers: Annotated[int, Field(ge=0)] = 0
    """R, extra tokens without a position that are thrown away at the end (Darcet et al. 2024, arXiv 2309.16588, section 2.2)."""
    qkv_bias: bool = True
    """Bias on queries, keys and values: the ViT's own code has it, ViT-22B leaves it out (Dehghani et al. 2023, arXiv 2302.05442,
    section 2.1)."""
    norm: Literal["pre", "post"] = "pre"
    """LayerNorm before each branch, or after each sum as in the first Transformer (Xiong et al. 2020, arXiv 2002.04745, figure 1)."""
    norm_eps: PositiveFloat = 1e-6
    """Added to the variance in every LayerNorm (Ba et al. 2016, arXiv 1607.06450): as in the ViT's own code; PyTorch's default, which
    the specimens have, is 1e-5."""
    qk_norm: bool = False
    """LayerNorm on each head's queries and keys (Dehghani et al. 2023, arXiv 2302.05442, section 2.1)."""
    layer_scale: PositiveFloat | None = None
    """A learned factor for each channel of each branch, starting here (Touvron et al. 2021, arXiv 2103.17239, section 2.1)."""
    stochastic_depth: Fraction = 0.0
    """Chance to skip a branch in training, growing linearly from 0 at the first block to this at the last; an only block is the last
    (Huang et al. 2016, arXiv 1603.09382, where the first block has its share of 1/L already)."""
    patch_dropout: Fraction = 0.0
    """Share of its patch tokens that each image loses in training, others at every step; what is left costs that much less (Liu et al.
    2022, arXiv 2208.07220, section 3). Class token and registers stay, and at least one patch."""
    embedding_dropout: Fraction | None = None
    """Dropout behind the position embedding; left out, it is `dropout`."""
    projection_dropout: Fraction | None = None
    """Dropout on the attention branch's output, behind its last projection; left out, it is `dropout`. The attention probabilities
    are never dropped."""
    mlp_dropout: Fraction | None = None
    """Dropout behind the MLP's activation and behind its output; left out, it is `dropout`."""
    init: Literal["vit", "published", "mimetic"] = "vit"
    """Start values: the table in `model/init.py`. `published` is that of the run behind the reference curve; `mimetic` starts attention
    as it ends up in trained ViTs (Trockman and Kolter 2023, arXiv 2305.09828, section 4)."""

    @model_validator(mode="before")
    @classmethod
    def _no_dropout_of_probabilities(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        rest = dict(values)
        if (
            "attention_dropout" in rest and rest["attention_dropout"] is None
        ):  # a run from before `projection_dropout` had its name
            del rest["attention_dropout"]
            if rest.get("mlp_dim") is not None:
                rest.pop("mlp_ratio", None)  # such a run's file has the default beside the width
        for name in OF_PROBABILITIES:
            if name in rest:
                raise ValueError(
                    f"{name}, dropout on the attention probabilities, is not built here; "
                    "projection_dropout acts on what the attention branch puts out"
                )
        return rest

    @model_validator(mode="after")
    def _switches_fit(self) -> ViTSpec:
        if self.mlp_dim is not None and self.mlp_ratio is not None:
            raise ValueError(
                f"mlp_dim {self.mlp_dim} and mlp_ratio {self.mlp_ratio:g} both set the width of the MLP; set one of them to null"
            )
        if self.mlp_width < 1:
            raise ValueError(
                f"mlp_ratio {self.mlp_ratio:g} of dim {self.dim} is an MLP without width; choose a larger one, or mlp_dim"
            )
        if self.patch_embedding != "conv-tokenizer":
            for name, given, off in (
                ("tokenizer_layers", self.tokenizer_layers, 1),
                ("tokenizer_widths", self.tokenizer_widths, None),
            ):
                if given != off:
                    raise ValueError(
                        f"{name} is {_listed(given)}, but patch_embedding '{self.patch_embedding}' has no tokenizer; "
                        f"set patch_embedding to conv-tokenizer, or leave {name} out"
                    )
        if self.patch_embedding == "conv-tokenizer":
            side = 2**self.tokenizer_layers
            if self.patch_size != (side, side):
                raise ValueError(
                    f"a conv-tokenizer of {self.tokenizer_layers} layers cuts patches of {side}×{side}, not of "
                    f"{self.patch_size[0]}×{self.patch_size[1]}; set patch_size or tokenizer_layers"
                )
        if self.tokenizer_widths is not None and len(self.tokenizer_widths) != self.tokenizer_layers - 1:
            raise ValueError(
                f"tokenizer_widths is {_listed(self.tokenizer_widths)}, expected {self.tokenizer_layers - 1} numbers, one for each of the "
                f"{self.tokenizer_layers} tokenizer_layers but the last, which gives dim; change one of the two"
            )
        if self.position == "sincos" and self.dim % 4:
            raise ValueError(f"position 'sincos' needs a dim that 4 divides, not {self.dim}")
        if self.position == "rotary" and self.patch_dropout:
            raise ValueError(
                f"patch_dropout {self.patch_dropout:g} takes tokens out of the grid that position 'rotary' turns by; "
                "choose another position, or set patch_dropout to 0"
            )
        if self.position == "rotary" and self.head_dim % 4:
            raise ValueError(f"position 'rotary' needs a head width (dim / heads) that 4 divides, not {self.head_dim}")
        return self

    @property
    def mlp_width(self) -> int:
        """M, the width of the MLP."""
        if self.mlp_dim is not None:
            return self.mlp_dim
        return round((MLP_RATIO if self.mlp_ratio is None else self.mlp_ratio) * self.dim)

    @property
    def tokenizer_channels(self) -> tuple[int, ...]:
        """Channels before, between and behind the convolutions of the tokenizer."""
        between = self.tokenizer_widths or (TOKENIZER_WIDTH,) * (self.tokenizer_layers - 1)
        return (self.channels, *between, self.dim)

    @property
    def class_token(self) -> bool:
        """Whether there is a class token."""
        return self.pooling == "class-token"

    @property
    def tokens(self) -> int:
        """T: class token, registers and patches."""
        return int(self.class_token) + self.registers + self.patches

    @property
    def patches_in_training(self) -> int:
        """Patch tokens that `patch_dropout` leaves."""
        return max(1, round(self.patches * (1 - self.patch_dropout)))

    @property
    def tokens_in_training(self) -> int:
        """Tokens that `patch_dropout` leaves."""
        return self.tokens - self.patches + self.patches_in_training

    def dropout_at(self, place: Literal["embedding", "projection", "mlp"]) -> float:
        """The dropout probability at one of its three places."""
        own: float | None = getattr(self, f"{place}_dropout")
        return self.dropout if own is None else own


def _listed(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, tuple) else str(value)


def _nearest(length: int, patch: int) -> int:
    return max(patch, round(length / patch) * patch)
