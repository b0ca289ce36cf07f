"""Ways of writing the same ViT: a bias by itself, heads in a loop, norms behind the sums, sums by other operations, read-outs by attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lens_samples import tiny_image
from test_lens_attacks import Block, Core, Written, by_conv, in_rows, plain_core
from torch import Tensor, nn

from vitscope._core.errors import LensError
from vitscope.lens.trace import Trace, trace
from vitscope.lens.views.experiments import removal

BIASED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "unfold, matmul": lambda s, x: F.unfold(x, 8, stride=8).mT @ s.linear.weight.T + s.linear.bias,
    "matmul": lambda s, x: in_rows(x, (0, 2, 4, 3, 5, 1)) @ s.linear.weight.T + s.linear.bias,
    "bias in front": lambda s, x: s.linear.bias + in_rows(x, (0, 2, 4, 3, 5, 1)) @ s.linear.weight.T,
    "bias of three axes": lambda s, x: (
        in_rows(x, (0, 2, 4, 3, 5, 1)) @ s.linear.weight.T + s.linear.bias.view(1, 1, 48)
    ),
    "einsum": lambda s, x: torch.einsum("bnp,dp->bnd", in_rows(x, (0, 2, 4, 3, 5, 1)), s.linear.weight) + s.linear.bias,
    "conv, bias on the map": lambda s, x: (
        (F.conv2d(x, s.conv.weight, stride=8) + s.conv.bias[:, None, None]).flatten(2).mT
    ),
    "conv, bias on tokens": lambda s, x: F.conv2d(x, s.conv.weight, stride=8).flatten(2).mT + s.conv.bias,
}


@pytest.mark.parametrize("name", BIASED)
def test_a_bias_that_is_added_by_itself_is_in_the_embedding(name: str) -> None:
    model = Written(cut=BIASED[name])
    nn.init.normal_(model.linear.bias)
    nn.init.normal_(model.conv.bias)
    found = trace(model, tiny_image())
    with torch.no_grad():
        assert torch.allclose(found["patch_embedding"], BIASED[name](model, tiny_image())[0], atol=1e-6)
        assert torch.allclose(found["with_class"][1:], found["patch_embedding"])
        assert torch.allclose(found["with_position"] - found["with_class"], model.place[0], atol=1e-6)
    assert "patches" in found


def test_a_bias_is_no_position_embedding() -> None:
    class Placeless(Written):
        def forward(self, x: Tensor) -> Tensor:
            x = torch.cat([self.first, self.cut(self, x) + self.place[:, :1]], dim=1)
            for block in self.blocks:
                x = block(x)
            scores: Tensor = self.head(self.norm(x)[:, 0])
            return scores

    found = trace(Placeless(), tiny_image())
    assert "with_position" not in found
    assert [note.en for note in found.notes] == ["no position embedding is added to the tokens"]


def looped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.cat([plain_core(q[:, i : i + 1], k[:, i : i + 1], v[:, i : i + 1]) for i in range(4)], dim=1)


def looped_without_an_axis(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.stack([plain_core(q[:, i], k[:, i], v[:, i]) for i in range(4)], dim=1)


def looped_and_fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    heads = zip(q.unbind(1), k.unbind(1), v.unbind(1), strict=True)
    return torch.stack([F.scaled_dot_product_attention(*each) for each in heads], dim=1)


def looped_by_step(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    maps = [torch.softmax(q[:, i] @ k[:, i].mT / 12**0.5, dim=-1) for i in range(4)]
    return torch.stack([each @ v[:, i] for i, each in enumerate(maps)], dim=1)


class Head(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(48, 12, bias=False) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        return plain_core(self.q(x), self.k(x), self.v(x))


class HeadsOfTheirOwn(nn.Module):
    """Each head a module with projections of its own, joined at the end, or each brought back by a layer of its own and summed."""

    def __init__(self, *, summed: bool) -> None:
        super().__init__()
        self.heads = nn.ModuleList(Head() for _ in range(4))
        self.norm, self.mlp = nn.LayerNorm(48), nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 48))
        self.out, self.outs = nn.Linear(48, 48), nn.ModuleList(nn.Linear(12, 48) for _ in range(4))
        self.summed = summed

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        if self.summed:
            mixed = sum(out(head(y)) for out, head in zip(self.outs, self.heads, strict=True))
        else:
            mixed = self.out(torch.cat([head(y) for head in self.heads], dim=-1))
        x = x + mixed
        return x + self.mlp(x)


@pytest.mark.parametrize("core", [looped, looped_without_an_axis, looped_and_fused, looped_by_step])
def test_heads_in_a_loop_are_one_block(core: Core) -> None:
    found, usual = trace(Written(core=core), tiny_image()), trace(Written(), tiny_image())
    assert len(found.anatomy.blocks) == len(found.attentions) == 2
    assert not found.notes
    assert list(found) == list(usual)
    for part in ("attention", "v", "after_attention", "after_mlp"):
        assert torch.allclose(found[f"block01/{part}"], usual[f"block01/{part}"], atol=1e-5)
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]


@pytest.mark.parametrize("core", [looped, looped_and_fused])
def test_a_head_of_a_loop_is_taken_away_by_itself(core: Core) -> None:
    found, usual = removal(trace(Written(core=core), tiny_image())), removal(trace(Written(), tiny_image()))
    assert torch.allclose(found.heads, usual.heads, atol=1e-5)
    assert torch.allclose(found.blocks, usual.blocks, atol=1e-5)


@pytest.mark.parametrize("summed", [False, True], ids=["joined", "summed"])
def test_heads_with_projections_of_their_own_are_one_block(summed: bool) -> None:
    model = Written()
    model.blocks = nn.ModuleList(HeadsOfTheirOwn(summed=summed) for _ in range(2))
    found = trace(model, tiny_image())
    assert len(found.anatomy.blocks) == 2
    assert found["block01/attention"].shape == (4, 17, 17)
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]
    assert not found.notes
    with torch.no_grad():
        assert torch.allclose(found["block00/after_mlp"], model.blocks[0](found["with_position"][None])[0], atol=1e-5)
        second = model.blocks[1].heads[2]
        y = model.blocks[1].norm(found["block00/after_mlp"])
        expected = torch.softmax(second.q(y) @ second.k(y).mT / 12**0.5, dim=-1)
        assert torch.allclose(found["block01/attention"][2], expected, atol=1e-6)


@pytest.mark.parametrize("shared_norm", [False, True], ids=["norms of their own", "one norm"])
def test_attentions_side_by_side_are_one_with_all_heads(shared_norm: bool) -> None:
    """As timm's ParallelThingsBlock has them."""

    class Beside(Block):
        def __init__(self) -> None:
            super().__init__(plain_core, torch.add)
            self.n3, self.qkv2, self.out2 = nn.LayerNorm(48), nn.Linear(48, 144), nn.Linear(48, 48)
            nn.init.normal_(self.n3.weight)

        def forward(self, x: Tensor) -> Tensor:
            one, other = self.n1(x), self.n1(x) if shared_norm else self.n3(x)
            branches = []
            for qkv, out, y in ((self.qkv, self.out, one), (self.qkv2, self.out2, other)):
                q, k, v = qkv(y).view(1, -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
                branches.append(out(plain_core(q, k, v).transpose(1, 2).flatten(2)))
            x = x + torch.stack(branches).sum(dim=0)
            return x + self.mlp(self.n2(x))

    model = Written()
    model.blocks = nn.ModuleList(Beside() for _ in range(2))
    nn.init.normal_(model.head.weight)
    found = trace(model, tiny_image())
    assert found["block01/attention"].shape == (8, 17, 17)
    assert ["2 attentions stand side by side" in note.en for note in found.notes] == [True, True]
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]
    with torch.no_grad():
        assert torch.allclose(found["block00/after_mlp"], model.blocks[0](found["with_position"][None])[0], atol=1e-5)
        gone = removal(found)
        without = found.tape.play({found.attentions[0].parts[1].ends: torch.zeros(4, 17, 12)}, found.anatomy.logits)
    assert gone.heads.shape == (2, 8)
    assert not torch.allclose(without[0], found["logits"])


def test_two_models_of_one_head_on_the_same_tokens_are_refused() -> None:
    class Two(Written):
        def forward(self, x: Tensor) -> Tensor:
            x = self.blocks[0].n1(torch.cat([self.first, self.cut(self, x)], dim=1) + self.place)
            scores: Tensor = self.head(self.norm(self.blocks[0](x) + self.blocks[1](x))[:, 0])
            return scores

    with pytest.raises(LensError, match="several models or passes in one"):
        trace(Two(), tiny_image())


def test_blocks_of_one_head_stay_blocks() -> None:
    def one_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        def whole(x: Tensor) -> Tensor:
            return x.transpose(1, 2).flatten(2)[:, None]

        return plain_core(whole(q), whole(k), whole(v)).view(1, 17, 4, 12).transpose(1, 2)

    assert len(trace(Written(core=one_head), tiny_image()).anatomy.blocks) == 2


class PostNorm(Block):
    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).view(len(x), -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
        x = self.n1(self.add(x, self.out(self.core(q, k, v).transpose(1, 2).flatten(2))))
        return self.n2(self.add(x, self.mlp(x)))


def test_with_norms_behind_the_sums_the_sums_are_shown_and_that_is_said() -> None:
    model = Written()
    model.blocks = nn.ModuleList(PostNorm(plain_core, torch.add) for _ in range(2))
    for block in model.blocks:
        nn.init.normal_(block.n1.weight)
    found = trace(model, tiny_image())
    assert [note.en.split(":")[0] for note in found.notes] == [
        "the norms of the blocks stand behind the sums (post-norm)"
    ]
    block = model.blocks[0]
    with torch.no_grad():
        normed = block.n1(found["block00/after_attention"])
        assert torch.allclose(normed + block.mlp(normed), found["block00/after_mlp"], atol=1e-6)


SCALE = torch.full((48,), 0.3)
ADDS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "lerp": lambda x, branch: torch.lerp(x, branch, 0.3),
    "lerp by a tensor": lambda x, branch: torch.lerp(x, branch, SCALE),
    "lerp the other way": lambda x, branch: torch.lerp(branch, x, 0.7),
    "lerp by a gate": lambda x, branch: torch.lerp(x, branch, torch.sigmoid(branch)),
    "addcmul": lambda x, branch: torch.addcmul(x, branch, SCALE),
    "addcmul, scaled": lambda x, branch: torch.addcmul(x, SCALE, branch, value=2.0),
    "sub": lambda x, branch: x - branch,
    "sub, scaled": lambda x, branch: torch.sub(x, branch, alpha=0.5),
    "sub the other way": lambda x, branch: branch - x,
    "in place": lambda x, branch: x.clone().sub_(branch),
}


@pytest.mark.parametrize("name", ADDS)
def test_a_branch_may_come_back_by_another_sum(name: str) -> None:
    model = Written(add=ADDS[name])
    found = trace(model, tiny_image())
    assert not found.notes
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]
    with torch.no_grad():
        block, x = model.blocks[0], found["with_position"][None]
        q, k, v = block.qkv(block.n1(x)).view(1, 17, 3, 4, 12).permute(2, 0, 3, 1, 4)
        middle = ADDS[name](x, block.out(plain_core(q, k, v).transpose(1, 2).flatten(2)))
        assert torch.allclose(found["block00/after_attention"], middle[0], atol=1e-6)
        assert torch.allclose(found["block00/after_mlp"], block(x)[0], atol=1e-6)


ORDERS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "x + m + a": lambda x, m, a: x + m + a,
    "m + x + a": lambda x, m, a: m + x + a,
    "a + (x + m)": lambda x, m, a: a + (x + m),
    "(a + m) + x": lambda x, m, a: (a + m) + x,
    "x + (m + a)": lambda x, m, a: x + (m + a),
}


@pytest.mark.parametrize("mlp_first", [False, True])
@pytest.mark.parametrize("name", ORDERS)
def test_a_parallel_block_is_one_in_any_order(name: str, mlp_first: bool) -> None:
    class Parallel(Block):
        def forward(self, x: Tensor) -> Tensor:
            m = self.mlp(self.n2(x)) if mlp_first else None
            q, k, v = self.qkv(self.n1(x)).view(len(x), -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
            a = self.out(self.core(q, k, v).transpose(1, 2).flatten(2))
            return ORDERS[name](x, self.mlp(self.n2(x)) if m is None else m, a)

    model = Written()
    model.blocks = nn.ModuleList(Parallel(plain_core, torch.add) for _ in range(2))
    found = trace(model, tiny_image())
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]
    assert ["a parallel block" in note.en for note in found.notes] == [True, True]
    assert "block00/after_attention" not in found
    with torch.no_grad():
        expected = model.blocks[0](found["with_position"][None])[0]
        assert torch.allclose(found["block00/after_mlp"], expected, atol=1e-6)


class Pooled(Written):
    """Reads the tokens out by an attention behind the blocks."""

    def __init__(self, *, learned: bool, fused: bool, residual: bool, over_class: bool) -> None:
        super().__init__()
        self.learned, self.fused, self.residual, self.over_class = learned, fused, residual, over_class
        self.latent = nn.Parameter(torch.randn(1, 1, 48))
        self.ask, self.kv = nn.Linear(48, 48), nn.Linear(48, 96)
        self.mlp = nn.Sequential(nn.LayerNorm(48), nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48))

    def read_out(self, x: Tensor) -> Tensor:
        first = x[:, :1] if not self.learned else self.latent
        keys = torch.cat([self.latent, x], dim=1) if self.over_class else x
        q = (first if self.learned else self.ask(first)).view(1, 1, 4, 12).transpose(1, 2)
        k, v = self.kv(keys).view(1, -1, 2, 4, 12).permute(2, 0, 3, 1, 4)
        pooled = F.scaled_dot_product_attention(q, k, v) if self.fused else plain_core(q, k, v)
        pooled = pooled.transpose(1, 2).flatten(2)
        pooled = first + pooled if self.residual else pooled
        return pooled + self.mlp(pooled)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.first, self.cut(self, x)], dim=1) + self.place
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(self.read_out(self.norm(x))[:, 0])
        return scores


@pytest.mark.parametrize("fused", [False, True], ids=["explicit", "fused"])
@pytest.mark.parametrize("residual", [False, True], ids=["plain", "residual"])
@pytest.mark.parametrize("over_class", [False, True], ids=["tokens", "class and tokens"])
@pytest.mark.parametrize("learned", [False, True], ids=["asked by a token", "asked by a parameter"])
def test_a_read_out_by_attention_is_no_block(fused: bool, residual: bool, over_class: bool, learned: bool) -> None:
    model = Pooled(learned=learned, fused=fused, residual=residual, over_class=over_class)
    found, usual = trace(model, tiny_image()), trace(Written(), tiny_image())
    assert len(found.anatomy.blocks) == len(found.attentions) == 2
    assert {name for name in found if name.startswith("block")} == {name for name in usual if name.startswith("block")}
    assert torch.equal(found["block01/after_mlp"], usual["block01/after_mlp"])
    assert [note.en.split(" (")[0] for note in found.notes] == [
        "behind the blocks an attention of its own reads the tokens out"
    ]
    assert found.reads == tuple(range(17))
    (read_out,) = found.anatomy.read_outs
    assert read_out.map.shape == (4, 1, 18 if over_class else 17)
    assert read_out.error < 1e-5
    with torch.no_grad():
        assert torch.allclose(found["final_norm"], model.norm(found["block01/after_mlp"]), atol=1e-6)
        assert torch.allclose(found["pooled"], model.read_out(found["final_norm"][None])[0, 0], atol=1e-5)


def test_tokens_weighed_by_a_learned_query_are_a_read_out() -> None:
    class Weighed(Written):
        def __init__(self) -> None:
            super().__init__()
            self.weigh = nn.Linear(48, 1)

    model = Weighed()
    model.read = lambda x: (torch.softmax(model.weigh(x), dim=1).mT @ x)[:, 0]
    found = trace(model, tiny_image())
    (read_out,) = found.anatomy.read_outs
    assert read_out.map.shape == (1, 1, 17)
    assert torch.equal(read_out.q[0], model.weigh.weight)
    assert len(found.reads) == 17
    assert found.class_token is None or "class" in str(found.notes)


def test_fewer_queries_between_blocks_are_still_refused() -> None:
    class Narrowing(Block):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.n1(x)).view(len(x), -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
            x = x[:, :5] + self.out(self.core(q[:, :, :5], k, v).transpose(1, 2).flatten(2))
            return x + self.mlp(self.n2(x))

    model = Written()
    model.blocks = nn.ModuleList([Block(plain_core, torch.add), Narrowing(plain_core, torch.add), Block(plain_core, torch.add)])  # fmt: skip
    with pytest.raises(LensError, match=r"spans 17 of 17 tokens|windows, or fewer queries"):
        trace(model, tiny_image())


class Registered(Written):
    """Four tokens join, no class token among them unless the reading makes it one."""

    def __init__(self, read: Callable[[Tensor], Tensor]) -> None:
        super().__init__(read=read)
        self.first, self.place = nn.Parameter(torch.randn(1, 4, 48)), nn.Parameter(torch.randn(1, 20, 48))


@pytest.mark.parametrize(
    ("read", "reads", "expected"),
    [
        (lambda x: x[:, :4].mean(dim=1), 4, None),
        (lambda x: x.mean(dim=1), 20, None),
        (lambda x: x[:, 4:].mean(dim=1), 16, None),
        (lambda x: x[:, 0], 1, 0),
        (lambda x: x[:, 2], 1, 2),
        (lambda x: 0.5 * x[:, 0] + 0.5 * x[:, 4:].mean(dim=1), 17, 0),
    ],
    ids=["registers' mean", "mean of all", "mean of patches", "first", "third", "class and mean"],
)
def test_a_class_token_is_read_for_itself(read: Callable[[Tensor], Tensor], reads: int, expected: int | None) -> None:
    found: Trace = trace(Registered(read), tiny_image())
    assert (len(found.reads), found.class_token) == (reads, expected)


def test_by_conv_is_what_the_others_are_held_against() -> None:
    assert torch.equal(trace(Written(), tiny_image())["patch_embedding"], by_conv(Written(), tiny_image())[0])
