"""The whole Vision Transformer on one screen: images in, class scores out.

Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words", arXiv 2010.11929. `forward` walks the stages that `vitscope explain`
prints, in their order. What a part does is in `parts.py`, what a switch means in `spec.py`, start values in `init.py`.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope.model.dropout import Dropout
from vitscope.model.init import initialise
from vitscope.model.parts import (
    BLOCK,
    PATCH_EMBEDDING,
    ClassToken,
    MeanOfPatches,
    PatchDropout,
    ReadClassToken,
    Registers,
)
from vitscope.model.position import POSITION
from vitscope.model.spec import ImageModelSpec, ViTSpec


class ViT(nn.Module):
    """A Vision Transformer.

    Shapes: images B C H W -> scores B Y. N = (H/Ph)·(W/Pw) patches, T = N + class token + registers.
    """

    def __init__(self, spec: ViTSpec) -> None:
        super().__init__()
        self.spec = spec
        self.patch_embedding = PATCH_EMBEDDING[spec.patch_embedding](spec)
        self.class_token = ClassToken(spec) if spec.class_token else nn.Identity()
        self.position = POSITION[spec.position](spec)
        self.patch_dropout = PatchDropout(spec) if spec.patch_dropout else nn.Identity()
        self.registers = Registers(spec) if spec.registers else nn.Identity()
        self.dropout = Dropout(spec.dropout_at("embedding"))
        self.blocks = nn.ModuleList(BLOCK[spec.norm](spec, layer) for layer in range(spec.depth))
        self.final_norm = nn.LayerNorm(spec.dim, spec.norm_eps) if spec.norm == "pre" else nn.Identity()
        self.pool = ReadClassToken() if spec.class_token else MeanOfPatches(spec)
        self.head = nn.Linear(spec.dim, spec.classes)
        initialise(self, spec)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B Y"]:
        check_images(images, self.spec)
        x = self.patch_embedding(images)  # B N D
        x = self.class_token(x)  # B 1+N D
        x = self.position(x)  # B 1+N D
        x = self.patch_dropout(x)  # B 1+N D, in training fewer
        x = self.dropout(self.registers(x))  # B T D
        for block in self.blocks:
            x = block(x)  # B T D
        x = self.final_norm(x)  # B T D
        x = self.pool(x)  # B D
        return self.head(x)  # B Y


def check_images(images: Tensor, spec: ImageModelSpec) -> None:
    """Refuses images of another size, with other channels, or as whole numbers, in one sentence."""
    expected = (spec.channels, *spec.image_size)
    if images.shape[1:] != expected:
        raise ModelError(
            f"this ViT takes images of shape (B, {', '.join(map(str, expected))}), got {tuple(images.shape)}; "
            "resize the images, or build the model for their size (a plain ViT: vitscope.resized)"
        )
    if not images.is_floating_point():
        raise ModelError(
            f"this ViT takes images of floating-point numbers, got {images.dtype}; normalise them first "
            "(Preprocessing.normalise, or (images / 255 - mean) / std)"
        )
