"""The initialisation table against measured start values, for every parameter of every switch, and against its own docstring."""

from __future__ import annotations

import itertools
import re
from typing import Any

import pytest
import torch
from tiny_vits import tiny_spec

import vitscope.model.init as table
from vitscope.model.create import build
from vitscope.model.init import fans, rule_of, rules
from vitscope.model.spec import ViTSpec

EVERYTHING: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 4,
    "dim": 128,
    "depth": 2,
    "heads": 4,
    "classes": 100,
    "registers": 16,
    "qk_norm": True,
    "layer_scale": 0.01,
}


def spec_with(embedding: str, init: str) -> ViTSpec:
    layers = {"tokenizer_layers": 2} if embedding == "conv-tokenizer" else {}
    return ViTSpec.parse({**EVERYTHING, "init": init, "patch_embedding": embedding, **layers})


@pytest.mark.parametrize("init", ["vit", "published"])
@pytest.mark.parametrize("embedding", ["linear", "conv", "conv-tokenizer"])
def test_measured_mean_and_deviation_of_every_parameter(init: str, embedding: str) -> None:
    torch.manual_seed(0)
    spec = spec_with(embedding, init)
    model = build(spec)
    for name, parameter in model.named_parameters():
        rule = rule_of(name, spec)
        std = rule.std(*fans(name, model))
        values = parameter.detach().double()
        if std == 0:
            assert values.min() == values.max(), name
            expected = {"norm weight": 1.0, "LayerScale": 0.01}.get(rule.role, 0.0)
            assert values.flatten()[0].item() == pytest.approx(expected), name
            continue
        count = values.numel()
        assert values.std().item() == pytest.approx(std, rel=4 / count**0.5), (name, rule.role)
        assert abs(values.mean().item()) < 4 * std / count**0.5, (name, rule.role)


def test_query_key_and_value_are_three_xavier_matrices() -> None:
    model = build(ViTSpec(**EVERYTHING))
    weight = model.blocks[0].attention.qkv.weight
    for part in weight.chunk(3):
        assert part.abs().max().item() == pytest.approx((6 / 256) ** 0.5, rel=0.01)


@pytest.mark.parametrize("heads", [1, 4])
def test_mimetic_attention_starts_near_the_identity_and_leaves_the_rest_alone(heads: int) -> None:
    torch.manual_seed(0)
    spec = ViTSpec(**{**EVERYTHING, "init": "mimetic", "heads": heads})
    model = build(spec)
    for block in model.blocks:
        query, key, value = block.attention.qkv.weight.detach().view(3, heads, spec.head_dim, spec.dim)
        for q, k in zip(query, key, strict=True):
            asked = q.T @ k
            # of a rank below D the nearest product holds at least its share of the identity
            assert asked.trace() / spec.dim > 0.6 / heads
            assert torch.allclose((q @ q.T).diagonal(), (k @ k.T).diagonal(), rtol=1e-3)  # factors of equal size
            if heads == 1:
                assert asked.diagonal().mean().item() == pytest.approx(0.7, abs=0.03)
                noise = asked - asked.diagonal().diag()
                assert noise.std().item() == pytest.approx(0.7 / spec.dim**0.5, rel=0.03)
        taken = block.attention.out.weight.detach() @ value.reshape(spec.dim, spec.dim)
        assert taken.diagonal().mean().item() == pytest.approx(-0.4, abs=0.02)
        assert (taken - taken.diagonal().diag()).std().item() == pytest.approx(0.4 / spec.dim**0.5, rel=0.03)
    for name, parameter in model.named_parameters():
        if not name.endswith(("qkv.weight", "attention.out.weight")):
            rule = rule_of(name, spec.changed(init="vit"))
            std, count = rule.std(*fans(name, model)), parameter.numel()
            assert parameter.std().item() == pytest.approx(std, rel=4 / count**0.5, abs=1e-6), name


def test_the_first_loss_is_that_of_a_guess() -> None:
    scores = build(tiny_spec())(torch.randn(4, 3, 8, 12))
    assert not scores.any()


COMBINATIONS = [
    dict(zip(("patch_embedding", "position", "pooling", "norm", "init"), values, strict=True))
    for values in itertools.product(
        ("linear", "conv", "conv-tokenizer"),
        ("learned", "sincos", "none", "rotary"),
        ("class-token", "mean"),
        ("pre", "post"),
        ("vit", "published", "mimetic"),
    )
]


@pytest.mark.parametrize("extra", [{}, {"registers": 2, "qk_norm": True, "layer_scale": 0.1, "stochastic_depth": 0.1}])
def test_every_parameter_of_every_combination_matches_exactly_one_row(extra: dict[str, Any]) -> None:
    for switches in COMBINATIONS:
        spec = tiny_spec(
            depth=1, **switches, **extra
        )  # building calls rule_of for each parameter, which raises otherwise
        for name, _ in build(spec).named_parameters():
            assert sum(re.fullmatch(rule.pattern, name) is not None for rule in rules(spec)) == 1, (name, switches)


def test_a_parameter_without_a_row_is_an_error() -> None:
    with pytest.raises(LookupError, match="matches 0 rows"):
        rule_of("blocks.0.surprise", tiny_spec())


def rows() -> dict[str, tuple[str, str]]:
    """The table in the module's docstring: what is filled, by `vit` and by `published`."""
    lines = [line for line in (table.__doc__ or "").splitlines() if line.startswith("| ") and "---" not in line][1:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {what: (vit, published) for what, vit, published in cells}


def formula(text: str, fan_in: int, fan_out: int, layer_scale: float) -> float:
    """The standard deviation that a cell of the table speaks of."""
    if "Xavier" in text:
        return (6 / (fan_in + fan_out)) ** 0.5 / 3**0.5
    if text.startswith("uniform ± 1/√(fan in)"):
        return (1 / fan_in**0.5) / 3**0.5
    if text.startswith("normal"):
        amount = text.removeprefix("normal, ")
        return {"1/√(fan in)": fan_in**-0.5, "√(2/(fan in))": (2 / fan_in) ** 0.5}.get(amount) or float(amount)
    assert text.startswith(("zero", "weight 1, bias 0", "`layer_scale`")), text
    return 0.0


@pytest.mark.parametrize(
    ("row", "name", "embedding"),
    [
        ("patch embedding, weight", "patch_embedding.1.weight", "linear"),
        ("patch embedding, weight", "patch_embedding.0.weight", "conv"),
        ("tokenizer convolutions, weight", "patch_embedding.3.weight", "conv-tokenizer"),
        ("query, key, value, weight", "blocks.1.attention.qkv.weight", "linear"),
        ("attention output and MLP, weight", "blocks.1.attention.out.weight", "linear"),
        ("attention output and MLP, weight", "blocks.0.mlp.3.weight", "linear"),
        ("head, weight", "head.weight", "linear"),
        ("biases", "blocks.0.mlp.0.bias", "linear"),
        ("position embedding", "position.table", "linear"),
        ("class token", "class_token.token", "linear"),
        ("registers", "registers.tokens", "linear"),
        ("norms", "blocks.0.attention.query_norm.weight", "linear"),
        ("norms", "final_norm.bias", "linear"),
        ("LayerScale", "blocks.0.mlp_residual.0.scale", "linear"),
    ],
)
def test_the_docstrings_table_says_what_the_rules_do(row: str, name: str, embedding: str) -> None:
    for column, init in enumerate(("vit", "published")):
        spec = spec_with(embedding, init)
        model = build(spec)
        fan = fans(name, model)
        assert rule_of(name, spec).std(*fan) == pytest.approx(formula(rows()[row][column], *fan, 0.01)), (row, init)


def test_the_docstrings_table_has_no_row_without_a_test() -> None:
    assert len(rows()) == 11
