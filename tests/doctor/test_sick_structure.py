"""Each sick ViT has the fault that it is named for, and no other of those that are tried here.

The doctor takes no part in this: an experiment of its own proves each fault, mostly by exact numbers, and the same
experiments must find nothing in the models of the other modes. Otherwise a check that misses a model, or that fires
for one, would say nothing.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sickness_experiments import (
    CASES,
    OURS,
    PROBED,
    built,
    but,
    changed,
    gradients,
    images,
    of,
    one_patch_each,
    shuffled,
    tokens,
)
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

pytestmark = pytest.mark.filterwarnings("ignore:Implicit dimension choice:UserWarning")

# ---------------------------------------------------------------- the collection


MODES = [
    "M3",
    "M4",
    "M5",
    "M6",
    "M7",
    "M8",
    "M9",
    "M10",
    "M11",
    "M14-affine",
    "M16-dead",
    "M18",
    "M19",
    "M20",
    "M21",
    "I5",
]
MODES += ["G1", "G2", "G3"]


def test_every_mode_has_two_models_without_a_common_building_block() -> None:
    assert len(CASES) == sum(len(module.CASES) for module in OURS), "two cases share a name"
    blocks: dict[str, list[set[type]]] = defaultdict(list)
    for name, case in CASES.items():
        assert case.severity in {"error", "warning", "note"}
        blocks[case.mode].append({type(m) for m in built(name).modules() if type(m).__module__.startswith("sick_")})
    assert sorted(blocks) == sorted(MODES)
    for mode, used in blocks.items():
        assert any(not a & b for a, b in itertools.combinations(used, 2)), mode


@pytest.mark.parametrize("name", CASES)
def test_it_is_sound_otherwise(name: str) -> None:
    model, x = built(name), images(name, 3)
    x.requires_grad_()
    logits = model(x)
    assert logits.shape == (3, 10)
    assert logits.isfinite().all()
    assert torch.equal(logits, model(x))
    torch.testing.assert_close(model(x[:1]), logits[:1], rtol=1e-9, atol=1e-9)
    assert F.cross_entropy(logits, torch.arange(3)) < math.log(10) + 1
    (gradient,) = torch.autograd.grad((logits * torch.randn_like(logits)).sum(), x)
    assert (gradient != 0).all(), "a pixel is not read"


@but("M4", "M5")
def test_one_patch_is_one_token(name: str) -> None:
    assert changed(tokens(built(name), one_patch_each(name))[0]).sum(0).tolist() == [1] * len(PROBED)


@but("M3", "M6", "G1", "I5")
def test_patches_meet(name: str) -> None:
    assert any(changed(state).all() for state in tokens(built(name), one_patch_each(name)))


@of("I5")
def test_patches_that_are_not_looked_at_do_not_count_and_others_do(name: str) -> None:
    met = changed(tokens(built(name), one_patch_each(name))[-1])
    assert met.double().mean() > 0.2


@but("M21", "G1")
def test_positions_count(name: str) -> None:
    model, x = built(name), images(name, 2)
    assert (model(shuffled(x)) - model(x)).abs().max() > 1e-6


@but("M16-dead", "G3")
def test_every_parameter_is_used(name: str) -> None:
    unused = {n for n, g in gradients(built(name), images(name, 4)).items() if g is None or not g.any()}
    declared = {"forgotten": {"position"}, "frozen-zero": {"pos_embed"}}
    assert unused == declared.get(name, set())


# ---------------------------------------------------------------- MLPs


class Bending(TorchFunctionMode):
    """How often anything bends the numbers one by one."""

    NAMES = frozenset({"gelu", "relu", "silu", "tanh", "sigmoid", "elu", "leaky_relu", "hardtanh", "sin"})
    count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += getattr(func, "__name__", "").rstrip("_") in self.NAMES
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", CASES)
def test_m14_no_activation_is_called(name: str) -> None:
    with Bending() as bending:
        built(name)(images(name, 1))
    assert (bending.count == 0) == (CASES[name].mode == "M14-affine")


# ---------------------------------------------------------------- patches


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("unfold-reshape", 3),
        ("raw-view", 9),
        ("conv-reshape", 64),
        ("strided-pattern", 16),
        ("unfold-view", 48),
        ("grey-unfold", 16),
        ("unfold-per-patch-conv", 48),
    ],
)
def test_m4_m5_one_patch_moves_so_many_tokens(name: str, count: int) -> None:
    state = tokens(built(name), one_patch_each(name))[0][:, -64:]
    assert set(changed(state).sum(0).tolist()) == {count}


# ---------------------------------------------------------------- mixing


@pytest.mark.parametrize(
    ("name", "meeting"),
    [
        ("tril-gpt", torch.ones(64, 64).tril()),
        ("subsequent-mask", torch.ones(64, 64).tril()),
        ("diagonal-mask", torch.eye(64)),
        ("length-one", torch.eye(64)),
        ("row-mask", torch.block_diag(*[torch.ones(8, 8)] * 8)),
        ("view-heads", torch.block_diag(*[torch.ones(16, 16)] * 4)),
    ],
)
def test_m3_m6_who_meets_whom(name: str, meeting: Tensor) -> None:
    assert torch.equal(changed(tokens(built(name), one_patch_each(name))[-1]), meeting[:, PROBED].bool())


def equivariant(attention: nn.Module, dim: int) -> bool:
    x = torch.randn(2, 64, dim, dtype=torch.double)
    order = torch.randperm(64)
    return torch.allclose(attention(x[:, order]), attention(x)[:, order], atol=1e-9)


def test_m6_attention_does_not_follow_a_permutation() -> None:
    assert not equivariant(built("view-heads").get_submodule("attn1"), 64)
    assert not equivariant(built("flat-merge").get_submodule("stack.0.fn"), 48)
    assert not equivariant(built("fused-split").get_submodule("layers.0.1"), 48)
    assert equivariant(built("unused-scale").get_submodule("blocks.0.attn"), 64), "the experiment accuses the sound"


# ---------------------------------------------------------------- blocks


@pytest.mark.parametrize(
    ("name", "emptied", "passes"),
    [
        ("no-skip", "transformer.0.attn", False),
        ("no-skip", "transformer.0.mlp", False),
        ("half-skip", "mlps.0", False),
        ("half-skip", "attentions.0", True),
        ("normed-stream", "layers.0.proj", True),
        ("wrong-name", "stage1.w2", True),
        ("wrong-name", "stage3.wo", True),
    ],
)
def test_m18_no_way_round_a_branch(name: str, emptied: str, passes: bool) -> None:
    """Round a branch that gives nothing the image goes on where there is a skip, and nowhere where there is none."""
    model, x = built(name), images(name, 2)
    for parameter in model.get_submodule(emptied).parameters():
        nn.init.zeros_(parameter)
    logits = model(x)
    assert bool((logits[0] - logits[1]).abs().max() > 1e-6) is passes


def logits_with_stream_times_ten(name: str, first_block: str) -> tuple[Tensor, Tensor]:
    model, x = built(name), images(name, 2)
    before = model(x)
    model.get_submodule(first_block).register_forward_pre_hook(lambda _, args: (10 * args[0],))
    return before, model(x)


def test_m18_the_skip_starts_behind_the_norm() -> None:
    before, after = logits_with_stream_times_ten("normed-stream", "layers.0")
    assert (after - before).abs().max() < 1e-3
    before, after = logits_with_stream_times_ten("unused-scale", "blocks.0")
    assert (after - before).abs().max() > 0.1, "the experiment accuses the sound"


@pytest.mark.parametrize(
    ("name", "blocks", "count"),
    [("default-encoder-10", "encoder.layers", 10), ("bert-8", "layer", 8), ("add-and-norm-9", "add_norm", 18)],
)
def test_m19_every_block_gives_normed_tokens(name: str, blocks: str, count: int) -> None:
    model, given = built(name), []
    for block in model.get_submodule(blocks).children():
        block.register_forward_hook(lambda _, args, out: given.append(out.detach()))
    model(images(name, 2))
    assert len(given) == count
    for out in given:
        assert out.mean(-1).abs().max() < 1e-6
        assert (out.var(-1, unbiased=False) - 1).abs().max() < 1e-2


@pytest.mark.parametrize(
    ("name", "stack", "normed"),
    [
        ("norm-first-no-norm", "encoder", False),
        ("pre-norm-mean", "layers", False),
        ("unfold-reshape", "encoder", True),
        ("default-encoder-10", "encoder", True),
    ],
)
def test_m20_what_leaves_the_stack_is_not_normed(name: str, stack: str, normed: bool) -> None:
    model, given = built(name), []
    model.get_submodule(stack).register_forward_hook(lambda _, args, out: given.append(out.detach()))
    model(images(name, 4))
    assert bool((given[0].var(-1, unbiased=False) - 1).abs().max() < 0.01) is normed


def test_m20_a_head_of_two_layers_is_no_norm() -> None:
    model, given = built("two-layer-head"), []
    model.get_submodule("head").register_forward_pre_hook(lambda _, args: given.append(args[0].detach()))
    model(images("two-layer-head", 4))
    assert (given[0].square().mean(-1) - 1).abs().min() > 0.05


@pytest.mark.parametrize(
    ("name", "dead", "alive"),
    [
        ("typo-loop", ["blocks.0", "blocks.1"], "blocks.2"),
        ("survival-nought", ["blocks.3"], "blocks.2"),
        ("wrong-name", ["stage2"], "stage1"),
    ],
)
def test_dead_blocks_may_hold_anything(name: str, dead: list[str], alive: str) -> None:
    model, x = built(name), images(name, 2)
    before = model(x)
    for path in dead:
        for parameter in model.get_submodule(path).parameters():
            nn.init.normal_(parameter)
    assert torch.equal(model(x), before)
    for parameter in model.get_submodule(alive).parameters():
        nn.init.normal_(parameter)
    assert (model(x) - before).abs().max() > 1e-3


# ---------------------------------------------------------------- position


@of("M21")
def test_m21_shuffled_patches_change_nothing_before_nor_after_training(name: str) -> None:
    model, x = built(name), images(name, 4)
    torch.testing.assert_close(model(shuffled(x)), model(x), rtol=1e-9, atol=1e-9)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for _ in range(20):
        optimizer.zero_grad()
        F.cross_entropy(model(x), torch.arange(4)).backward()
        optimizer.step()
    torch.testing.assert_close(model(shuffled(x)), model(x), rtol=1e-9, atol=1e-9)


# ---------------------------------------------------------------- gradient


@pytest.mark.parametrize(
    ("name", "first", "last", "low", "high"),
    [
        ("sigmoid-stream", "blocks.0.", "blocks.3.", 0, 1e-3),
        ("small-init", ".0.weight", ".2.weight", 0, 1e-3),
        ("softmax-stream", "layers.0.", "layers.3.", 0, 1e-3),
        ("embedding-scale", "layers.0.", "layers.3.", 200, math.inf),
        ("sine", "layers.0.", "layers.3.", 200, math.inf),
        ("wide-tanh", "blocks.0.", "blocks.5.", 200, math.inf),
        ("unused-scale", "blocks.0.", "blocks.1.", 0.1, 10),
        ("biased-relu", "layers.0.", "layers.1.", 0.1, 10),
    ],
)
def test_g1_g2_gradient_of_the_first_block_against_the_last(
    name: str, first: str, last: str, low: float, high: float
) -> None:
    found = gradients(built(name), images(name, 8))
    norms = [
        math.sqrt(sum(float(g.square().sum()) for n, g in found.items() if part in n and g is not None))
        for part in (first, last)
    ]
    assert low <= norms[0] / norms[1] <= high


@pytest.mark.parametrize(
    ("name", "layer", "dead"),
    [
        ("biased-relu", "layers.0.linear1", 1.0),
        ("negative-weights", "mlp.0.b", 1.0),
        ("mostly-dead", "layers.0.2.1", 0.75),
        ("query-softmax", "layers.0.2.1", 0.0),
    ],
)
def test_g3_units_that_never_fire(name: str, layer: str, dead: float) -> None:
    model, given = built(name), []
    model.get_submodule(layer).register_forward_hook(lambda _, args, out: given.append(out.detach()))
    model(images(name, 16))
    assert float((given[0].flatten(0, -2) <= 0).all(0).double().mean()) == dead
