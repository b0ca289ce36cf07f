"""What each switch of a ViT does, shown by behaviour, in float64."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, images_for, shuffled, specimen, tiny, tiny_spec
from torch import Tensor, nn

from vitscope._core.errors import ConfigError, ModelError
from vitscope.model.attention import set_attention_path
from vitscope.model.create import build, create_model, resized
from vitscope.model.parts import StochasticDepth
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import GoodViTSpec
from vitscope.model.vit import ViT, check_images


def after(model: nn.Module, path: str, images: Tensor) -> Tensor:
    """What the module at `path` puts out while the model runs."""
    caught: list[Tensor] = []
    handle = model.get_submodule(path).register_forward_hook(lambda _m, _i, out: caught.append(out))
    try:
        model(images)
    finally:
        handle.remove()
    return caught[0]


def order(n: int) -> Tensor:
    return torch.randperm(n, generator=torch.Generator().manual_seed(0))


def test_linear_and_convolutional_patch_embedding_are_one_function() -> None:
    linear, conv = tiny(), tiny(patch_embedding="conv")
    state = linear.state_dict()
    weight = state.pop("patch_embedding.1.weight")
    (ph, pw), channels = linear.spec.patch_size, linear.spec.channels
    state["patch_embedding.0.weight"] = weight.view(-1, ph, pw, channels).permute(0, 3, 1, 2)
    state["patch_embedding.0.bias"] = state.pop("patch_embedding.1.bias")
    conv.load_state_dict(state)
    images = images_for(linear.spec)
    assert torch.allclose(linear(images), conv(images), atol=1e-10, rtol=0)


def test_one_patch_is_one_token_and_neighbours_of_a_tokenizer_overlap() -> None:
    changed = images_for(tiny_spec())
    changed[:, :, 0:2, 4:8] += 1  # the second patch
    model = tiny()
    moved = (model.patch_embedding(changed) - model.patch_embedding(images_for(tiny_spec()))).abs().sum(dim=2)[0]
    assert moved.nonzero().flatten().tolist() == [1]
    tokenizer = tiny(patch_embedding="conv-tokenizer")
    moved = (
        (tokenizer.patch_embedding(changed) - tokenizer.patch_embedding(images_for(tiny_spec()))).abs().sum(dim=2)[0]
    )
    assert 2 < int((moved > 0).sum()) < tokenizer.spec.patches


def test_without_position_scores_ignore_the_order_of_patches() -> None:
    model = tiny(position="none")
    images = images_for(model.spec)
    assert torch.allclose(model(images), model(shuffled(images, model.spec, order(12))), atol=1e-9, rtol=0)


@pytest.mark.parametrize("position", ["learned", "sincos", "rotary"])
def test_with_position_scores_depend_on_the_order_of_patches(position: str) -> None:
    model = tiny(position=position)
    images = images_for(model.spec)
    assert (model(images) - model(shuffled(images, model.spec, order(12)))).abs().max() > 1e-4


def test_a_learned_position_has_a_row_for_the_class_token_and_a_fixed_one_gives_it_zeros() -> None:
    assert tiny().position.table.shape == (1, 13, 16)
    assert tiny(pooling="mean").position.table.shape == (1, 12, 16)
    assert not tiny(position="sincos").position.table[0, 0].any()
    assert "position.table" not in tiny(position="sincos").state_dict()


@pytest.mark.parametrize("pooling", ["class-token", "mean"])
def test_registers_leave_the_number_of_patches_and_are_dropped(pooling: str) -> None:
    model = tiny(registers=3, pooling=pooling)
    assert model.spec.patches == 12
    assert model.spec.tokens == 15 + (pooling == "class-token")
    images = images_for(model.spec)
    before_pool = after(model, "final_norm", images)
    assert before_pool.shape[1] == model.spec.tokens
    first = int(pooling == "class-token")
    other = before_pool.clone()
    other[:, first : first + 3] += 100.0
    assert torch.equal(model.pool(before_pool), model.pool(other))
    scores = model(images)
    with torch.no_grad():
        model.registers.tokens[..., ::2].add_(1.0)  # a constant would be taken out by the norm
    assert not torch.allclose(scores, model(images), atol=1e-3)  # they do take part on the way


def test_mean_pooling_is_the_mean_of_the_patch_tokens() -> None:
    model = tiny(pooling="mean", registers=2)
    x = torch.randn(2, 14, 16, dtype=torch.float64)
    assert torch.equal(model.pool(x), x[:, 2:].mean(dim=1))
    assert not any(name.startswith("class_token") for name, _ in model.named_parameters())
    assert torch.equal(tiny().pool(x), x[:, 0])


@pytest.mark.parametrize("bias", [True, False])
def test_qkv_bias(bias: bool) -> None:
    names = dict(tiny(qkv_bias=bias).named_parameters())
    assert ("blocks.0.attention.qkv.bias" in names) is bias
    assert "blocks.0.attention.out.bias" in names


def test_qk_norm_gives_queries_and_keys_unit_variance() -> None:
    model = build(tiny_spec(qk_norm=True, norm_eps=1e-12)).double().eval()
    images = 100 * images_for(tiny_spec())
    for name in ("query_norm", "key_norm"):
        normed = after(model, f"blocks.1.attention.{name}", images)
        assert normed.shape == (3, 2, 13, 8)
        assert torch.allclose(normed.mean(dim=-1), torch.zeros_like(normed[..., 0]), atol=1e-9)
        assert torch.allclose(normed.var(dim=-1, unbiased=False), torch.ones_like(normed[..., 0]), atol=1e-6)


def test_pre_norm_branches_ignore_the_scale_of_their_input_and_the_skip_keeps_it() -> None:
    block = tiny(norm_eps=1e-12).blocks[0]
    x = torch.randn(2, 13, 16, dtype=torch.float64)
    branch = block.attention(block.attention_norm(x))
    assert torch.allclose(branch, block.attention(block.attention_norm(10 * x)), atol=1e-8)
    with torch.no_grad():
        for layer in (block.attention.out, block.mlp[3]):
            layer.weight.zero_()
            layer.bias.zero_()
    assert torch.equal(block(x), x)


def test_post_norm_normalises_each_sum_and_needs_no_final_norm() -> None:
    model = build(tiny_spec(norm="post")).double().eval()
    out = model.blocks[0](100 * torch.randn(2, 13, 16, dtype=torch.float64))
    assert torch.allclose(out.mean(dim=-1), torch.zeros(2, 13, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(out.var(dim=-1, unbiased=False), torch.ones(2, 13, dtype=torch.float64), atol=1e-4)
    assert isinstance(model.final_norm, nn.Identity)


def test_layer_scale_starts_where_told_and_scales_the_branch() -> None:
    model = build(tiny_spec(layer_scale=1e-3))
    for block in model.blocks:
        assert torch.equal(block.attention_residual[0].scale, torch.full((16,), 1e-3))
        assert torch.equal(block.mlp_residual[0].scale, torch.full((16,), 1e-3))
    x = torch.randn(2, 13, 16)
    assert torch.allclose(model.blocks[0].mlp_residual(x), 1e-3 * x)


def test_stochastic_depth_grows_linearly_and_starts_at_zero() -> None:
    model = build(tiny_spec(depth=5, stochastic_depth=0.4))
    rates = [[m.p for m in block.modules() if isinstance(m, StochasticDepth)] for block in model.blocks]
    assert rates[0] == []
    assert rates[1:] == [[pytest.approx(0.1 * n)] * 2 for n in (1, 2, 3, 4)]


def test_the_only_block_is_the_last_and_has_the_whole_stochastic_depth() -> None:
    (block,) = build(tiny_spec(depth=1, stochastic_depth=0.4)).blocks
    assert [m.p for m in block.modules() if isinstance(m, StochasticDepth)] == [0.4, 0.4]


def test_stochastic_depth_drops_whole_images_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    drop = StochasticDepth(0.3)
    out = drop(torch.ones(20_000, 2, 3))
    assert torch.equal(out.amin(dim=(1, 2)), out.amax(dim=(1, 2)))
    assert (out[:, 0, 0] == 0).double().mean().item() == pytest.approx(0.3, abs=0.015)
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(torch.ones(5, 2, 3)), torch.ones(5, 2, 3))


@pytest.mark.parametrize("pooling", ["class-token", "mean"])
def test_patch_dropout_keeps_a_random_share_of_each_images_patches_and_is_off_in_evaluation(pooling: str) -> None:
    torch.manual_seed(0)
    model = build(tiny_spec(patch_dropout=0.5, pooling=pooling, registers=2))  # 12 patches
    prefix = int(pooling == "class-token")
    x = torch.arange(12.0 + prefix).repeat(2000, 1).unsqueeze(2).expand(-1, -1, 16)
    out = model.patch_dropout(x)
    assert out.shape == (2000, prefix + 6, 16)
    assert torch.equal(out.amin(dim=2), out.amax(dim=2))  # whole tokens
    assert torch.equal(out[:, :prefix], x[:, :prefix])
    kept = out[:, prefix:, 0]
    assert all(len(set(row.tolist())) == 6 for row in kept)
    counts = torch.bincount(kept.long().flatten() - prefix, minlength=12)
    assert counts.double().div(2000).tolist() == pytest.approx([0.5] * 12, abs=0.05)
    assert torch.equal(model.eval().patch_dropout(x), x)
    tokens: list[int] = []
    model.train().blocks[0].register_forward_hook(lambda _, args, __: tokens.append(args[0].shape[1]))
    images = torch.randn(2, 3, 8, 12)
    model(images)
    model.eval()(images)
    assert tokens == [prefix + 6 + 2, prefix + 12 + 2]


def test_patch_dropout_leaves_a_patch_and_refuses_rotary_positions() -> None:
    assert tiny_spec(patch_dropout=0.99).patches_in_training == 1
    with pytest.raises(ConfigError, match=r"patch_dropout 0.5 takes tokens out of the grid that position 'rotary'"):
        tiny_spec(patch_dropout=0.5, position="rotary")


@pytest.mark.parametrize(
    ("switch", "places"),
    [
        ("embedding_dropout", r"dropout"),
        ("projection_dropout", r"blocks\.\d\.attention\.dropout"),
        ("mlp_dropout", r"blocks\.\d\.mlp\.[24]"),
        ("dropout", r".*"),
    ],
)
def test_dropout_acts_at_its_place_and_in_training_only(switch: str, places: str) -> None:
    torch.manual_seed(0)
    model = tiny(**{switch: 0.5})
    images = images_for(model.spec, 40)
    assert torch.equal(model(images), model(images))
    model.train()
    assert not torch.equal(model(images), model(images))
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
    assert len(names) == 1 + 2 * 3
    for name in names:
        dropped = (after(model, name, images) == 0).double().mean().item()
        assert dropped == pytest.approx(0.5 if re.fullmatch(places, name) else 0.0, abs=0.03), name


def test_a_place_of_its_own_overrides_the_common_dropout() -> None:
    spec = tiny_spec(dropout=0.2, mlp_dropout=0.0)
    assert [spec.dropout_at(place) for place in ("embedding", "projection", "mlp")] == [0.2, 0.2, 0.0]


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("gelu", nn.functional.gelu),
        ("gelu-tanh", lambda x: nn.functional.gelu(x, approximate="tanh")),
        ("relu", nn.functional.relu),
        ("silu", nn.functional.silu),
    ],
)
def test_activation(activation: str, function: Any) -> None:
    mlp = tiny(activation=activation).blocks[0].mlp
    x = torch.randn(2, 13, 16, dtype=torch.float64)
    assert torch.equal(mlp(x), mlp[3](function(mlp[0](x))))


def test_mlp_width() -> None:
    assert tiny_spec().mlp_width == 64
    assert tiny_spec(mlp_ratio=1.5).mlp_width == 24
    assert tiny_spec(mlp_dim=10).mlp_width == 10
    assert tiny(mlp_dim=10).blocks[0].mlp[0].weight.shape == (10, 16)


@pytest.mark.parametrize("image", [(8, 12), (20, 4), (2, 4), (6, 40)])
@pytest.mark.parametrize("position", ["learned", "sincos", "rotary"])
def test_any_rectangle_that_the_patch_divides(image: tuple[int, int], position: str) -> None:
    model = tiny(image_size=image, position=position)
    assert model(images_for(model.spec)).shape == (3, 5)


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_scores_of_an_image_do_not_depend_on_its_batch(batch: int) -> None:
    model = tiny(registers=1, qk_norm=True, layer_scale=0.5)
    images = images_for(model.spec, 4)
    assert torch.allclose(model(images[:batch]), model(images)[:batch], atol=1e-12)


def test_an_image_of_another_size_or_with_other_channels_is_refused() -> None:
    model = tiny()
    for shape in ((1, 3, 12, 8), (1, 1, 8, 12), (1, 3, 8, 16)):
        with pytest.raises(ModelError, match=r"takes images of shape \(B, 3, 8, 12\), got"):
            model(torch.zeros(shape, dtype=torch.float64))


def test_images_of_whole_numbers_are_to_be_normalised_first() -> None:
    for dtype in (
        torch.uint8,
        torch.int64,
    ):  # the types of a model's own arguments are checked before, but only under the tests
        with pytest.raises(ModelError, match=rf"floating-point numbers, got {dtype}; normalise them first"):
            check_images(torch.zeros(2, 3, 8, 12, dtype=dtype), tiny_spec())
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        check_images(torch.zeros(2, 3, 8, 12, dtype=dtype), tiny_spec())


def test_resized_to_the_same_size_is_the_same_model() -> None:
    model = tiny()
    twin = resized(model, (8, 12))
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), twin.state_dict().values(), strict=True))
    assert twin is not model
    assert not twin.training


def test_resized_keeps_all_weights_and_interpolates_the_position_only() -> None:
    model = tiny().train()
    larger = resized(model, (16, 24))
    assert larger.spec.grid == (8, 6)
    assert larger.training
    assert next(larger.parameters()).dtype == torch.float64
    for name, tensor in model.state_dict().items():
        if name != "position.table":
            assert torch.equal(tensor, larger.state_dict()[name]), name
    assert torch.equal(model.position.table[:, 0], larger.position.table[:, 0])
    assert larger(images_for(larger.spec)).shape == (3, 5)
    assert model.spec.grid == (4, 3)


@pytest.mark.parametrize("position", ["sincos", "rotary", "none"])
def test_resized_without_a_learned_position_is_a_model_built_for_that_size(position: str) -> None:
    model = tiny(position=position)
    other, fresh = resized(model, (6, 20)), build(tiny_spec(position=position, image_size=(6, 20))).double().eval()
    fresh.load_state_dict(model.state_dict())
    images = images_for(other.spec)
    assert torch.equal(other(images), fresh(images))
    assert model(images_for(model.spec)).shape == (3, 5)


def test_resized_keeps_the_share_of_patches_that_is_left_out_in_training() -> None:
    model = create_model("vit-ti4-32", classes=3, depth=1, patch_dropout=0.5)
    for side, kept in ((16, 8), (64, 128)):
        seen: list[int] = []
        other = resized(model, side).train()
        other.blocks[0].register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0].shape[1] - 1))
        other(torch.randn(2, 3, side, side))
        assert seen == [kept]


def test_resized_keeps_what_was_set_on_the_model_and_draws_no_random_number() -> None:
    model = tiny()
    set_attention_path(model, "fused")
    model.position.table.requires_grad_(False)
    model.blocks[0].requires_grad_(False)
    model.blocks[1].eval()
    model.head = nn.Linear(16, 7).double()  # another head, as for fine-tuning
    before = torch.get_rng_state()
    other = resized(model, (16, 24))
    assert torch.equal(torch.get_rng_state(), before)
    assert {block.attention.attention_path for block in other.blocks} == {"fused"}
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert {name for name, p in other.named_parameters() if not p.requires_grad} == frozen
    assert other(images_for(other.spec)).shape == (3, 7)
    with torch.no_grad():
        other.head.weight.zero_()
    assert model.head.weight.any()


@pytest.mark.parametrize(
    ("model", "name"),
    [(specimen(GoodViTSpec(**SPECIMEN)), "good-vit"), (nn.Linear(2, 2), "Linear")],
    ids=["good", "Linear"],
)
def test_resized_refuses_what_is_no_plain_vit(model: nn.Module, name: str) -> None:
    with pytest.raises(
        ModelError, match=rf"resized takes a plain ViT, not {name}; build the model for its images instead"
    ):
        resized(model, 16)


def test_resized_refuses_what_the_patch_does_not_divide() -> None:
    with pytest.raises(ConfigError, match="image_size 9×12 does not divide into patches of 2×4; the nearest"):
        resized(tiny(), (9, 12))


def test_create_model_takes_a_name_a_spec_or_a_recipes_mapping() -> None:
    sizes = {"image_size": 8, "patch_size": 4, "dim": 8, "depth": 1, "heads": 1, "classes": 3}
    for model in (create_model("vit-ti4-32", **sizes), create_model(ViTSpec(), **sizes), create_model(sizes)):
        assert isinstance(model, ViT)
        assert model.spec == ViTSpec(**sizes)
    assert create_model({"name": "bad-vit", "fault": "none"}).spec.fault == "none"
    assert create_model(tiny_spec()).spec == tiny_spec()
