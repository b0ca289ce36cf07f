"""ViTs whose logits are none: through a softmax or a sigmoid (M12), bounded, rectified or dropped out (M13)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from einops.layers.torch import Rearrange
from sick_case import Case
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.fn = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x) + x


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.attend = nn.Softmax(dim=-1)
        self.dropout = nn.Dropout(dropout)
        self.to_qkv, self.to_out = nn.Linear(dim, dim * 3, bias=False), nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (rearrange(t, "b n (h d) -> b h n d", h=self.heads) for t in self.to_qkv(x).chunk(3, dim=-1))
        attn = self.dropout(self.attend(torch.matmul(q, k.transpose(-1, -2)) * self.scale))
        return self.to_out(rearrange(torch.matmul(attn, v), "b h n d -> b n (h d)"))


class LucidViT(nn.Module):
    """einops layers, residuals as wrappers, class token, the head a Sequential with `tail` at its end."""

    def __init__(self, *tail: nn.Module, dim: int = 64, depth: int = 2) -> None:
        super().__init__()
        self.to_patch_embedding = nn.Sequential(
            Rearrange("b c (h p1) (w p2) -> b (h w) (p1 p2 c)", p1=4, p2=4),
            nn.LayerNorm(48),
            nn.Linear(48, dim),
            nn.LayerNorm(dim),
        )
        self.pos_embedding = nn.Parameter(torch.randn(1, 65, dim) * 0.02)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks.append(Residual(nn.LayerNorm(dim), Attention(dim, 4)))
            blocks.append(Residual(nn.LayerNorm(dim), nn.Linear(dim, 128), nn.GELU(), nn.Linear(128, dim)))
        self.transformer = nn.Sequential(*blocks, nn.LayerNorm(dim))
        self.mlp_head = nn.Sequential(nn.Linear(dim, 10), *tail)

    def forward(self, img: Tensor) -> Tensor:
        x = self.to_patch_embedding(img)
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), x), dim=1) + self.pos_embedding
        return self.mlp_head(self.transformer(x)[:, 0])


class TorchLayersViT(nn.Module):
    """nn.TransformerEncoderLayers, sequence first, mean; what becomes of the scores is the business of `finish`."""

    def __init__(self, d: int = 48, layers: int = 3) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, d, 4, 4)
        self.positions = nn.Parameter(torch.empty(64, 1, d))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(d, 3, 96, norm_first=True) for _ in range(layers))
        self.norm = nn.LayerNorm(d)
        self.fc = nn.Linear(d, 10)

    def finish(self, scores: Tensor) -> Tensor:
        return scores

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).permute(2, 0, 1) + self.positions
        for layer in self.layers:
            x = layer(x)
        return self.finish(self.fc(self.norm(x).mean(0)))


class SoftmaxInForwardViT(TorchLayersViT):
    def finish(self, scores: Tensor) -> Tensor:
        return F.softmax(scores, dim=1)


class SigmoidInForwardViT(TorchLayersViT):
    def finish(self, scores: Tensor) -> Tensor:
        return torch.sigmoid(scores)


class TanhInForwardViT(TorchLayersViT):
    def finish(self, scores: Tensor) -> Tensor:
        return torch.tanh(scores)


class ReLUInForwardViT(TorchLayersViT):
    def finish(self, scores: Tensor) -> Tensor:
        return F.relu(scores)


class DropoutInForwardViT(TorchLayersViT):
    def finish(self, scores: Tensor) -> Tensor:
        return F.dropout(scores, 0.2, self.training)


class Net(nn.Module):
    """A beginner's class in one piece: its own attention written out, nn.Unfold, the scores' `activation` by name."""

    def __init__(self, activation: str, width: int = 32) -> None:
        super().__init__()
        self.unfold = nn.Unfold(4, stride=4)
        self.fc0 = nn.Linear(48, width)
        self.pe = nn.Parameter(0.02 * torch.randn(64, width))
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.query2, self.key2, self.value2 = (nn.Linear(width, width) for _ in range(3))
        self.ln1, self.ln2, self.ln3, self.ln4, self.ln5 = (nn.LayerNorm(width) for _ in range(5))
        self.fc1, self.fc2 = nn.Linear(width, 64), nn.Linear(64, width)
        self.fc3, self.fc4 = nn.Linear(width, 64), nn.Linear(64, width)
        self.fc5 = nn.Linear(width, 10)
        last = {"softmax": nn.Softmax(dim=-1), "sigmoid": nn.Sigmoid(), "tanh": nn.Tanh(), "relu": nn.ReLU()}
        self.out = last.get(activation, nn.Dropout(0.3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc0(self.unfold(x).transpose(1, 2)) + self.pe
        h = self.ln1(x)
        a = torch.softmax(self.query(h) @ self.key(h).transpose(1, 2) / 32**0.5, dim=2)
        x = x + a @ self.value(h)
        x = x + self.fc2(F.relu(self.fc1(self.ln2(x))))
        h = self.ln3(x)
        a = torch.softmax(self.query2(h) @ self.key2(h).transpose(1, 2) / 32**0.5, dim=2)
        x = x + a @ self.value2(h)
        x = x + self.fc4(F.relu(self.fc3(self.ln4(x))))
        return self.out(self.fc5(self.ln5(x).mean(dim=1)))


CASES: tuple[Case, ...] = (
    Case("softmax-in-the-head", "M12", "output", "warning", lambda: LucidViT(nn.Softmax(dim=-1))),
    Case("softmax-in-forward", "M12", "output", "error", SoftmaxInForwardViT, loss="cross-entropy"),
    Case("softmax-by-name", "M12", "output", "warning", lambda: Net("softmax")),
    Case("sigmoid-in-the-head", "M12", "output", "error", lambda: LucidViT(nn.Sigmoid()), loss="cross-entropy"),
    Case("sigmoid-in-forward", "M12", "output", "warning", SigmoidInForwardViT),
    Case("sigmoid-by-name", "M12", "output", "warning", lambda: Net("sigmoid")),
    Case("tanh-in-the-head", "M13", "output", "warning", lambda: LucidViT(nn.Tanh())),
    Case("tanh-in-forward", "M13", "output", "warning", TanhInForwardViT),
    Case("relu-by-name", "M13", "output", "warning", lambda: Net("relu")),
    Case("relu-in-forward", "M13", "output", "warning", ReLUInForwardViT),
    Case("dropout-in-the-head", "M13", "output", "warning", lambda: LucidViT(nn.Dropout(0.1))),
    Case("dropout-in-forward", "M13", "output", "warning", DropoutInForwardViT),
    Case("dropout-by-name", "M13", "output", "warning", lambda: Net("dropout")),
)
