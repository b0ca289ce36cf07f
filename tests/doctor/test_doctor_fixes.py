"""The fix of a finding, taken as it stands, mends the model that has the fault, and names what the model has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from healthy_hosts import DIM, HEADS, Block, Host, N, Split, mlp
from torch import Tensor, nn

from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding
from vitscope.doctor.naming import as_code, in_each_block

pytestmark = pytest.mark.e2e  # whole examinations
Build = Callable[[], nn.Module]


def causes(model: nn.Module, *checks: str, loss: str | None = None) -> list[Finding]:
    return [*diagnose(model, image_size=32, checks=checks, loss=loss).causes]


def first(build: Build, *checks: str) -> Finding:
    torch.manual_seed(0)
    return causes(build(), *checks)[0]


def pasted(model: nn.Module, finding: Finding, *, lines: int = 1) -> nn.Module:
    """The model behind the first lines of the fix, as the last ones of its constructor."""
    exec("\n".join(finding.fault.code.splitlines()[:lines]), {"self": model, "model": model, "nn": nn, "torch": torch})
    return model


class Viewed(Split):
    """Heads cut out with a view, and put back with another, in the line where the transposes belong."""

    splits_right = merges_right = False

    def split(self, x: Tensor) -> Any:
        (B, n, _), heads, d = x.shape, self.heads, self.head_dim
        q, k, v = self.q(x), self.k(x), self.v(x)
        if self.splits_right:
            return (t.view(B, n, heads, d).transpose(1, 2) for t in (q, k, v))
        return (t.view(B, heads, n, d) for t in (q, k, v))

    def merge(self, y: Tensor) -> Tensor:
        B, heads, n, d = y.shape
        if self.merges_right:
            y = y.transpose(1, 2)
        return self.out(y.reshape(B, n, heads * d))


def viewed(*, splits_right: bool, merges_right: bool) -> Build:
    kind = type("Kind", (Viewed,), {"splits_right": splits_right, "merges_right": merges_right})
    return lambda: Host(lambda: Block(kind))


def test_heads_that_are_cut_and_merged_across_tokens_get_both_lines() -> None:
    both = first(viewed(splits_right=False, merges_right=False), "token-mixing")
    one = first(viewed(splits_right=False, merges_right=True), "token-mixing")
    other = first(viewed(splits_right=True, merges_right=False), "token-mixing")
    assert both.id == one.id == "heads-split-across-tokens"
    assert other.id == "heads-merged-across-tokens"
    assert both.fault.code == f"{one.fault.code}\n{other.fault.code}"
    assert one.fault.code.startswith("q, k, v = ")
    assert both.fault.advice.en.endswith(other.fault.advice.en)
    assert both.fault.advice.ja.endswith(other.fault.advice.ja)
    assert causes(viewed(splits_right=True, merges_right=True)(), "token-mixing") == []


class ReadsEarly(Host):
    """The head reads the class token as it was before the blocks: the parameter, or the first of the tokens that the blocks take."""

    is_parameter = True

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.embed(x)
        self.encode(tokens)
        return self.read(self.norm(self.cls_token.expand(len(x), -1, -1) if self.is_parameter else tokens))


@pytest.mark.parametrize("is_parameter", [True, False], ids=["parameter", "token"])
def test_a_class_token_that_is_read_before_the_blocks_is_told(is_parameter: bool) -> None:
    kind = type("Kind", (ReadsEarly,), {"is_parameter": is_parameter})
    found = causes(kind(), "input-blindness", "parameters", "token-mixing")
    assert [each.id for each in found] == ["class-token-read-before-the-blocks"]
    assert "the head reads the class token (cls_token) from before the blocks" in found[0].summary.en
    assert found[0].fault.code.startswith("return self.head(self.norm(x)[:, 0])")


def test_results_of_blocks_that_are_thrown_away_stay_the_cause() -> None:
    class ThrownAway(Host):
        def encode(self, tokens: Tensor) -> Tensor:
            for block in self.blocks:
                block(tokens)
            return self.norm(tokens)

    assert [each.id for each in causes(ThrownAway(), "input-blindness", "parameters")] == ["work-thrown-away"]


class Ended(Host):
    """A head with something behind it, as the last module of an nn.Sequential."""

    kind: type[nn.Module] = nn.Softmax

    def prepare(self, dim: int) -> None:
        self.head = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 10), self.kind())


@pytest.mark.parametrize(
    ("kind", "loss", "fault"),
    [
        (nn.Softmax, None, "softmax-in-the-model"),
        (nn.Sigmoid, None, "sigmoid-in-the-model"),
        (nn.LogSoftmax, "cross-entropy", "log-softmax-before-cross-entropy"),
        (nn.Tanh, None, "bounded-scores"),
        (nn.ReLU, None, "rectified-scores"),
        (nn.Sigmoid, "bce-with-logits", "sigmoid-applied-twice"),
        (nn.Softmax, "nll", "no-log-softmax-before-nll"),
    ],
)
def test_what_is_a_module_behind_the_head_is_taken_out(kind: type[nn.Module], loss: str | None, fault: str) -> None:
    def ending() -> nn.Module:
        return kind(dim=-1) if kind in (nn.Softmax, nn.LogSoftmax) else kind()

    torch.manual_seed(0)
    model = type("Kind", (Ended,), {"kind": staticmethod(ending)})()
    (found,) = causes(model, "output", loss=loss)
    assert found.id == fault
    instead = "nn.LogSoftmax(dim=-1)" if loss == "nll" else "nn.Identity()"
    assert found.fault.code.startswith(f"self.head[2] = {instead}   # in place of nn.{kind.__name__}")
    assert found.fault.advice.en.startswith(f"take head.2, an nn.{kind.__name__}, out of its nn.Sequential: ")
    assert found.fault.advice.ja.startswith(f"head.2（nn.{kind.__name__}）をnn.Sequentialから取り除いてください。")
    assert causes(pasted(model, found), "output", loss=loss) == []


class OwnHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(DIM, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).softmax(dim=-1)


def test_what_a_forward_does_behind_the_head_is_told_with_the_name_of_the_layer() -> None:
    class Model(Host):
        def prepare(self, dim: int) -> None:
            self.classify = OwnHead()

        def read(self, tokens: Tensor) -> Tensor:
            return self.classify(tokens[:, 0])

    found = first(Model, "output")
    assert found.fault.code.splitlines()[0] == "return self.fc(x)   # no softmax"
    assert found.fault.advice.en.startswith("in the forward of classify, return the scores")


def test_an_activation_that_others_use_stays_where_it_is() -> None:
    class Shared(Host):
        def prepare(self, dim: int) -> None:
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return self.act(self.read(self.act(self.encode(self.embed(x)))))

    assert first(Shared, "output").fault.code == "return self.head(x)   # no ReLU"


class Crossing(Host):
    """Tokens go through the blocks as (tokens, batch, width), for an attention that takes the batch first."""

    def encode(self, tokens: Tensor) -> Tensor:
        return super().encode(tokens.transpose(0, 1)).transpose(0, 1)


class OwnCrossing(Split):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


@pytest.mark.parametrize("check", ["input-blindness", "batch-independence"])
def test_an_attention_of_ones_own_is_told_nothing_of_batch_first(check: str) -> None:
    class Mean(Crossing):
        def read(self, tokens: Tensor) -> Tensor:
            return self.head(tokens.mean(dim=1))

    crossing = first(Crossing if check == "input-blindness" else Mean, check)
    assert "leave out the transpose in front of the blocks" in crossing.fault.advice.en
    assert crossing.fault.code.endswith("# no .transpose(0, 1) behind it")
    own = first(lambda: Host(lambda: Block(OwnCrossing)), "token-mixing", "input-blindness")
    assert own.id == "class-token-never-sees-a-patch"
    assert own.fault.code.startswith("q, k, v = ")
    for each in (crossing, own):
        assert "batch_first" not in each.fault.advice.en + each.fault.advice.ja + each.fault.code


class Scaled(Split):
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return q @ k.mT * self.head_dim**0.5


class Twice(Split):
    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        return (q * self.head_dim**-0.5) @ k.mT * self.head_dim**-0.5


class Fused(Split):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.split(x)
        return self.merge(F.scaled_dot_product_attention(q, k, v, scale=self.head_dim**0.5))


@pytest.mark.parametrize(
    ("attention", "fault", "code"),
    [
        (Scaled, "scaled-by-the-reciprocal", " * q.shape[-1] ** -0.5   # in place of the factor 3.464"),
        (Fused, "scaled-by-the-reciprocal", "F.scaled_dot_product_attention(q, k, v)   # no scale="),
    ],
)
def test_a_scale_stands_in_place_of_the_one_that_is_there(attention: type[nn.Module], fault: str, code: str) -> None:
    found = first(lambda: Host(lambda: Block(attention)), "attention")
    assert found.id == fault
    assert code in found.fault.code


def test_a_scale_in_two_places_is_told_with_both() -> None:
    class Wide(Host):
        def __init__(self) -> None:
            super().__init__(lambda: Block(Twice, 2 * DIM), dim=2 * DIM)

    found = first(Wide, "attention")
    assert found.id == "scaled-twice"
    assert found.fault.code.endswith("# in place of the factors 0.2041 and 0.2041")


class Cosines(Split):
    is_squeezed = is_mended = False

    def prepare(self, dim: int, heads: int) -> None:
        self.temperature = nn.Parameter(torch.tensor(10.0))

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        if self.is_squeezed:
            return super().scores(q, k).softmax(dim=-1)
        cosines = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return cosines * (self.temperature if self.is_mended else self.head_dim**-0.5)


def test_weights_that_stay_even_are_told_their_own_reason() -> None:
    def found(**how: bool) -> list[Finding]:
        torch.manual_seed(0)
        found = causes(Host(lambda: Block(type("Kind", (Cosines,), how), heads=2)), "attention")
        return [each for each in found if each.id == "weights-always-nearly-even"]

    (cosines,), (squeezed,) = found(), found(is_squeezed=True)
    assert "self.temperature = nn.Parameter(torch.tensor(10.0))" in cosines.fault.code
    assert "one softmax" not in cosines.fault.advice.en
    assert squeezed.fault.code == "attn = scores.softmax(dim=-1)   # once"
    assert "cosines" not in squeezed.fault.advice.en
    assert found(is_mended=True) == []


class WithPatches(Host):
    """Patches by a convolution, of an image whose axes were exchanged, or whose result is laid out wrongly."""

    way = ""

    def embed(self, x: Tensor) -> Tensor:
        B, C, H, W = x.shape
        if self.way == "image":
            x = x.reshape(B, H, W, C).permute(0, 3, 1, 2)
        if self.way == "image mended":
            x = x.permute(0, 2, 3, 1).permute(0, 3, 1, 2)
        tokens = self.patch(x)
        tokens = tokens.view(B, N, -1) if self.way == "behind" else tokens.flatten(2).transpose(1, 2)
        return torch.cat([self.cls_token.expand(B, -1, -1), tokens], dim=1) + self.pos_embed


@pytest.mark.parametrize(
    ("way", "code"),
    [
        ("image", "x = x.permute(0, 2, 3, 1)   # B C H W -> B H W C   # not .reshape(B, H, W, C)"),
        ("behind", "x = self.proj(x).flatten(2).transpose(1, 2)   # not .view(B, N, -1)"),
        ("image mended", ""),
        ("", ""),
    ],
)
def test_patches_are_mended_where_they_go_wrong(way: str, code: str) -> None:
    torch.manual_seed(0)
    found = causes(type("Kind", (WithPatches,), {"way": way})(), "patch-layout")
    assert [each.fault.code for each in found] == ([code] if code else [])
    assert all("unfold" not in each.fault.advice.en for each in found)


class Blind(Host):
    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1)


class BlindMean(Blind):
    def prepare(self, dim: int) -> None:
        del self.pos_embed

    def embed(self, x: Tensor) -> Tensor:
        return self.patch(x).flatten(2).mT

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


def test_a_position_that_is_missing_fits_the_model() -> None:
    held, none = first(Blind, "position"), first(BlindMean, "position")
    assert held.fault.code == "x = x + self.pos_embed"
    assert "randn(1, 64, dim)" in none.fault.code
    assert "lab-notes" not in held.fault.why.en + held.fault.why.ja


class Loud(Host):
    is_fixed = False

    def prepare(self, dim: int) -> None:
        loud = torch.randn(1, 1 + N, dim) * 3
        del self.pos_embed
        if self.is_fixed:
            self.register_buffer("table", loud)
        else:
            self.table = nn.Parameter(loud)

    def embed(self, x: Tensor) -> Tensor:
        return torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch(x).flatten(2).mT], dim=1) + self.table


def test_a_position_that_drowns_the_patches_is_named() -> None:
    torch.manual_seed(0)
    model = Loud()
    (found,) = causes(model, "position")
    assert found.fault.code == "nn.init.trunc_normal_(self.table, std=0.02)"
    assert causes(pasted(model, found), "position") == []
    assert first(type("Kind", (Loud,), {"is_fixed": True}), "position").fault.code == "x = x + 0.02 * self.table"


class Masked(Host):
    """torch's encoder behind a mask: one that hides what comes later, or all other tokens."""

    is_causal, is_open = True, False

    def prepare(self, dim: int) -> None:
        layer = nn.TransformerEncoderLayer(dim, HEADS, 2 * dim, 0.0, batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def encode(self, tokens: Tensor) -> Tensor:
        hidden = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
        mask = hidden.triu(1) if self.is_causal else hidden & ~torch.eye(len(hidden), dtype=torch.bool)
        return self.norm(self.blocks(tokens, mask=None if self.is_open else mask))

    def read(self, tokens: Tensor) -> Tensor:
        return self.head(tokens.mean(dim=1))


class MaskedOwn(Block):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = nn.MultiheadAttention(DIM, HEADS, batch_first=True), mlp()

    def forward(self, x: Tensor) -> Tensor:
        y, hidden = self.norm1(x), torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        x = x + self.attn(y, y, y, attn_mask=hidden, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


def test_a_mask_is_taken_from_the_module_of_torch_that_was_given_it() -> None:
    causal = first(Masked, "token-mixing")
    apart = first(type("Kind", (Masked,), {"is_causal": False}), "token-mixing")
    assert [causal.id, apart.id] == ["causal-mask", "patches-never-meet"]
    assert causal.fault.code == apart.fault.code == "x = self.blocks(x)   # no mask, no is_causal"
    assert causes(type("Kind", (Masked,), {"is_open": True})(), "token-mixing") == []
    own = first(lambda: Host(MaskedOwn), "input-blindness")
    assert own.id == "class-token-masked-from-patches"
    assert own.fault.code == "self.attn(x, x, x, need_weights=False)[0]   # no attn_mask, no is_causal"


def test_fewer_heads_are_a_number_that_fits() -> None:
    narrow = first(lambda: Host(lambda: Block(heads=12)), "attention")
    assert narrow.id == "heads-too-narrow"
    assert narrow.fault.code == "heads = 1   # each 48 wide"
    wide = first(lambda: Host(lambda: Block(dim=80, heads=20), dim=80), "attention")
    assert wide.fault.code == "heads = 2   # each 40 wide"


def test_heads_that_collapsed_are_told_by_the_weights_that_make_them() -> None:
    torch.manual_seed(0)
    model = Host(lambda: Block(heads=2))
    for block in model.blocks:
        for part in (block.attn.q, block.attn.k):
            nn.init.normal_(part.weight, std=3)
    (found,) = causes(model, "attention")
    lines = [f"    nn.init.trunc_normal_(block.attn.{each}.weight, std=0.02)" for each in ("q", "k")]
    assert found.fault.code.splitlines() == ["for block in self.blocks:", *lines]
    assert causes(pasted(model, found, lines=3), "attention") == []


def test_a_class_token_behind_the_patches_is_read_where_it_is() -> None:
    class Behind(Host):
        place = 0

        def embed(self, x: Tensor) -> Tensor:
            tokens = super().embed(x)
            return torch.cat([tokens[:, 1:], tokens[:, :1]], dim=1)

        def read(self, tokens: Tensor) -> Tensor:
            return self.head(tokens[:, self.place])

    found = first(Behind, "pixel-coverage")
    assert found.fault.code == "return self.head(self.norm(x)[:, -1])   # not [:, 0]"
    assert causes(type("Kind", (Behind,), {"place": -1})(), "pixel-coverage") == []


def test_a_patch_size_that_divides_the_image_is_named() -> None:
    class Five(Host):
        def prepare(self, dim: int) -> None:
            self.patch = nn.Conv2d(3, dim, 5, 5)
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 37, dim))

    assert first(Five, "pixel-coverage").fault.code.startswith("patch_size = 4   # not 5\n")


@pytest.mark.parametrize("is_detached", [True, False], ids=["detached", "no_grad"])
def test_what_cuts_the_gradient_off_is_told_by_what_it_is(is_detached: bool) -> None:
    class Cut(Host):
        def encode(self, tokens: Tensor) -> Tensor:
            if is_detached:
                return super().encode(tokens).detach()
            with torch.no_grad():
                return super().encode(tokens)

    code = first(Cut, "input-blindness").fault.code
    assert code.endswith("# without .detach()" if is_detached else "# not under torch.no_grad()")


@pytest.mark.parametrize(("patch", "size", "better"), [(16, 32, 4), (14, 28, 4), (112, 224, 16), (32, 96, 12)])
def test_a_smaller_patch_fits_the_image(patch: int, size: int, better: int) -> None:
    class Coarse(Host):
        def prepare(self, dim: int) -> None:
            self.patch = nn.Conv2d(3, dim, patch, patch)
            self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + (size // patch) ** 2, dim))

    torch.manual_seed(0)
    (found,) = diagnose(Coarse(), image_size=size, checks=["patch-layout"]).findings
    assert found.id == "too-few-tokens"
    assert found.fault.code == f"patch_size = {better}   # of {size} pixels"


def test_paths_are_written_as_code() -> None:
    assert as_code("mlp_head.2.weight") == "self.mlp_head[2].weight"
    assert as_code("2", "model") == "model[2]"
    line = "f({})"
    assert in_each_block(["a.0.q", "pos", "a.0.k", "a.1.q"], line).splitlines() == [
        "for block in self.a:",
        "    f(block.q)",
        "    f(block.k)",
        "f(self.pos)",
    ]
