"""Small ViTs of which one block is joined otherwise than its twins (M18), or whose blocks, or parts of them, are left out (M14, M16-dead)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from sick_case import Case
from torch import Tensor, nn


class Attend(nn.Module):
    def __init__(self, d: int, h: int = 2) -> None:
        super().__init__()
        self.h, self.qkv, self.proj = h, nn.Linear(d, 3 * d), nn.Linear(d, d)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = rearrange(self.qkv(x), "b n (k h d) -> k b h n d", k=3, h=self.h)
        return self.proj(rearrange((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v, "b h n d -> b n (h d)"))


class Layer(nn.Module):
    """`how` says how its two branches are joined."""

    def __init__(self, d: int, how: str = "sound") -> None:
        super().__init__()
        self.how = how
        self.n1, self.attn, self.n2 = nn.LayerNorm(d), Attend(d), nn.LayerNorm(d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no skip round the MLP":
            x = x + self.attn(self.n1(x))
            return self.mlp(self.n2(x))
        if self.how == "no skip round the attention":
            x = self.attn(self.n1(x))
            return x + self.mlp(self.n2(x))
        if self.how == "normed stream":
            x = self.n1(x)
            x = x + self.attn(x)
            x = self.n2(x)
            return x + self.mlp(x)
        if self.how == "normed before the MLP":
            x = self.n2(x + self.attn(self.n1(x)))
            return x + self.mlp(x)
        if self.how == "MLP twice":
            x = x + self.mlp(self.n1(x))
            return x + self.mlp(self.n2(x))
        if self.how == "attention twice":
            x = x + self.attn(self.n1(x))
            return x + self.attn(self.n2(x))
        if self.how == "attention forgotten":
            y = x + self.attn(self.n1(x))  # noqa: F841
            return x + self.mlp(self.n2(x))
        x = x + self.attn(self.n1(x))
        return x + self.mlp(self.n2(x))


class LayersViT(nn.Module):
    """A class token, and layers, each joined as it is told."""

    def __init__(self, *how: str, d: int = 32) -> None:
        super().__init__()
        self.embed, self.cls = nn.Conv2d(3, d, 4, 4), nn.Parameter(torch.randn(1, 1, d) * 0.02)
        self.pos = nn.Parameter(torch.randn(1, 65, d) * 0.02)
        self.blocks = nn.ModuleList(Layer(d, each) for each in how)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 10)

    def run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).mT
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos
        return self.head(self.run(x)[:, 0])


class PastTheBlocksViT(LayersViT):
    """The loop over the blocks was lost."""

    def run(self, x: Tensor) -> Tensor:
        return self.norm(x)


class ReturnInTheLoopViT(LayersViT):
    def run(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            return self.norm(block(x))
        return x


class ListsViT(nn.Module):
    """Parts in lists, sequence first, the mean of the tokens; in the layer `odd` something is left out."""

    def __init__(self, odd: int | None = None, kind: str = "", depth: int = 3, d: int = 48) -> None:
        super().__init__()
        self.odd, self.kind = odd, kind
        self.cut, self.inp, self.pos = (
            nn.Unfold(4, stride=4),
            nn.Linear(48, d),
            nn.Parameter(torch.randn(64, 1, d) / 50),
        )
        self.mhas = nn.ModuleList(nn.MultiheadAttention(d, 4) for _ in range(depth))
        self.before, self.between = (nn.ModuleList(nn.LayerNorm(d) for _ in range(depth)) for _ in range(2))
        self.ffns = nn.ModuleList(nn.Sequential(nn.Linear(d, 96), nn.ReLU(), nn.Linear(96, d)) for _ in range(depth))
        self.out = nn.Sequential(nn.LayerNorm(d), nn.Linear(d, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inp(self.cut(x).permute(2, 0, 1)) + self.pos
        for i, (before, mha, between, ffn) in enumerate(
            zip(self.before, self.mhas, self.between, self.ffns, strict=True)
        ):
            kind = self.kind if self.odd in (i, -1) else ""
            y = before(x)
            heard = mha(y, y, y, need_weights=False)[0]
            if kind != "forgotten":
                x = heard if kind == "attention" else x + heard
            x = ffn(between(x)) if kind == "MLP" else x + ffn(between(x))
            if kind == "first only":
                break
        return self.out(x.mean(0))


class TorchsViT(nn.Module):
    """torch's encoder, built and never called: the patches go to the head."""

    def __init__(self, d: int = 48) -> None:
        super().__init__()
        self.patch, self.pos = nn.Conv2d(3, d, 4, 4), nn.Parameter(torch.randn(64, d) * 0.02)
        layer = nn.TransformerEncoderLayer(d, 2, 96, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.fc = nn.Linear(d, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.gelu(self.patch(x).flatten(2).mT + self.pos).mean(1))


SOUND = "sound"
CASES: tuple[Case, ...] = (
    Case("lone-mlp-skip", "M18", "residual", "warning", lambda: LayersViT(SOUND, SOUND, "no skip round the MLP")),
    Case("lone-first-mlp", "M18", "residual", "warning", lambda: ListsViT(0, "MLP")),
    Case("lone-last-mlp", "M18", "residual", "warning", lambda: ListsViT(2, "MLP")),
    Case(
        "lone-attention-skip",
        "M18",
        "residual",
        "warning",
        lambda: LayersViT(SOUND, "no skip round the attention", SOUND),
    ),
    Case("lone-attention-in-lists", "M18", "residual", "warning", lambda: ListsViT(1, "attention")),
    Case("lone-normed-stream", "M18", "residual", "warning", lambda: LayersViT(SOUND, "normed stream", SOUND)),
    Case("lone-normed-mlp", "M18", "residual", "warning", lambda: LayersViT(SOUND, SOUND, "normed before the MLP")),
    Case("one-attention-uncalled", "M14", "parameters", "error", lambda: LayersViT(SOUND, "MLP twice", SOUND)),
    Case("one-mlp-uncalled", "M14", "parameters", "error", lambda: LayersViT("attention twice", SOUND, SOUND)),
    Case("mlp-twice-everywhere", "M14", "parameters", "error", lambda: LayersViT(*["MLP twice"] * 2)),
    Case("past-the-blocks", "M14", "parameters", "error", lambda: PastTheBlocksViT(SOUND, SOUND, SOUND)),
    Case("torchs-encoder-uncalled", "M14", "parameters", "error", TorchsViT),
    Case("return-in-the-loop", "M14", "parameters", "warning", lambda: ReturnInTheLoopViT(SOUND, SOUND, SOUND)),
    Case("break-in-the-loop", "M14", "parameters", "warning", lambda: ListsViT(0, "first only")),
    Case("attention-forgotten", "M16-dead", "residual", "error", lambda: LayersViT(*["attention forgotten"] * 2)),
    Case("attention-forgotten-in-lists", "M16-dead", "residual", "error", lambda: ListsViT(-1, "forgotten")),
)
