"""The faults of `bad-vit`, each as the lines that somebody really writes. A fault's name in, the parts that have it out.

Every class is called as the sound one it replaces and registers the same modules, so that `print` cannot tell them apart
(`spec/faults.md`). What each fault does in one sentence is in `faults.py`.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from vitscope.model.specimens import bad
from vitscope.model.specimens.bad import Parts
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec


class BatchMixingMean:
    class ViT(bad.ViT):
        def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B Y"]:
            return self.head(self.norm(x).mean(dim=1))


class NoPosition:
    class ViT(bad.ViT):
        def embed(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
            x = self.patch_embed(images)
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
            return self.pos_drop(x)


class PositionFrozenZero:
    class ViT(bad.ViT):
        def __init__(self, spec: BadViTSpec, parts: Parts) -> None:
            super().__init__(spec, parts)
            self.pos_embed = nn.Parameter(torch.zeros(1, spec.patches + 1, spec.dim), requires_grad=False)


class ScrambledPatches:
    class PatchEmbedding(bad.PatchEmbedding):
        def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B N D"]:
            x = self.proj(x)
            B, D, Gh, Gw = x.shape
            return x.reshape(B, Gh * Gw, D)


class NoResidual:
    class TransformerEncoderBlock(bad.TransformerEncoderBlock):
        def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            x = self.dropout(self.attend(self.norm1(x)))
            return self.mlp(self.norm2(x))


class PostNorm:
    class TransformerEncoderBlock(bad.TransformerEncoderBlock):
        def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            x = self.norm1(x + self.dropout(self.attend(x)))
            return self.norm2(x + self.mlp(x))


class NormUnused:
    class ViT(bad.ViT):
        def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B Y"]:
            return self.head(x[:, 0])


class MLPWithoutActivation:
    class MLP(bad.MLP):
        def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            x = self.dropout(self.fc1(x))
            return self.dropout(self.fc2(x))


class SoftmaxHead:
    class ViT(bad.ViT):
        def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B Y"]:
            return nn.functional.softmax(self.head(self.norm(x)[:, 0]), dim=-1)


class DropoutAlwaysOn:
    """`F.dropout` is on unless told `training=self.training`."""

    class MLP(bad.MLP):
        def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            x = nn.functional.dropout(self.act(self.fc1(x)), self.dropout.p)
            return nn.functional.dropout(self.fc2(x), self.dropout.p)

    class TransformerEncoderBlock(bad.TransformerEncoderBlock):
        def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            x = x + nn.functional.dropout(self.attend(self.norm1(x)), self.dropout.p)
            return x + self.mlp(self.norm2(x))

    class ViT(bad.ViT):
        def embed(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B T D"]:
            x = self.patch_embed(images)
            x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
            return nn.functional.dropout(x + self.pos_embed, self.pos_drop.p)


class DoubleDropout:
    class TransformerEncoderBlock(bad.TransformerEncoderBlock):
        def forward(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
            x = x + self.dropout(self.attend(self.norm1(x)))
            return x + self.dropout(self.mlp(self.norm2(x)))  # the MLP has dropped out already


class ClsDetached:
    class ViT(bad.ViT):
        def read_out(self, x: Float[Tensor, "B T D"]) -> Float[Tensor, "B Y"]:
            return self.head(self.norm(x)[:, 0].detach())


EXHIBITS: dict[BadViTFault, Parts] = {
    "none": Parts(),
    "batch-mixing": Parts(batch_first=False),
    "batch-mixing-mean": Parts(batch_first=False, vit=BatchMixingMean.ViT),
    "no-position": Parts(vit=NoPosition.ViT),
    "position-frozen-zero": Parts(vit=PositionFrozenZero.ViT),
    "scrambled-patches": Parts(patch_embedding=ScrambledPatches.PatchEmbedding),
    "no-residual": Parts(block=NoResidual.TransformerEncoderBlock),
    "post-norm": Parts(block=PostNorm.TransformerEncoderBlock),
    "norm-unused": Parts(vit=NormUnused.ViT),
    "mlp-without-activation": Parts(mlp=MLPWithoutActivation.MLP),
    "softmax-head": Parts(vit=SoftmaxHead.ViT),
    "dropout-always-on": Parts(
        vit=DropoutAlwaysOn.ViT, block=DropoutAlwaysOn.TransformerEncoderBlock, mlp=DropoutAlwaysOn.MLP
    ),
    "double-dropout": Parts(block=DoubleDropout.TransformerEncoderBlock),
    "cls-detached": Parts(vit=ClsDetached.ViT),
}
