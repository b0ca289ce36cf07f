"""What each fault of bad-vit does, in float64, on a model of 12 patches; all beside the sound one with the same weights."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from tiny_vits import SPECIMEN, images_for, shuffled, specimen
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope.model.presets import FAULTS
from vitscope.model.specimens.exhibits import EXHIBITS
from vitscope.model.specimens.faults import FAULT_EFFECTS
from vitscope.model.specimens.spec import BadViTSpec, GoodViTSpec

SPEC = BadViTSpec(**SPECIMEN, fault="none")


def bad(fault: str, **sizes: Any) -> nn.Module:
    return specimen(BadViTSpec(**{**SPECIMEN, "fault": fault, **sizes}))


def gradient_of_first_image(model: nn.Module) -> Tensor:
    """How the first image's scores depend on all images, summed over pixels: one number an image."""
    images = images_for(SPEC).requires_grad_()
    model(images)[0].sum().backward()
    assert images.grad is not None
    return images.grad.abs().sum(dim=(1, 2, 3))


def tokens(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(batch, SPEC.patches + 1, SPEC.dim, generator=generator, dtype=torch.float64)


def test_every_fault_has_code_and_a_sentence_in_both_languages() -> None:
    assert tuple(EXHIBITS) == FAULTS == tuple(FAULT_EFFECTS)
    for text in FAULT_EFFECTS.values():
        assert text.en.endswith(".")
        assert text.ja.endswith("。")


def test_none_reads_its_own_image_and_no_other() -> None:
    own, *others = gradient_of_first_image(bad("none")).tolist()
    assert own > 1e-3
    assert others == [0.0, 0.0]


def test_batch_mixing_does_not_depend_on_any_image() -> None:
    assert gradient_of_first_image(bad("batch-mixing")).tolist() == [0.0, 0.0, 0.0]
    model = bad("batch-mixing")
    assert torch.equal(model(images_for(SPEC, seed=1)), model(images_for(SPEC, seed=2)))


def test_batch_mixing_mean_depends_on_the_other_images() -> None:
    assert min(gradient_of_first_image(bad("batch-mixing-mean")).tolist()) > 1e-4
    model, images = bad("batch-mixing-mean"), images_for(SPEC)
    assert not torch.allclose(model(images)[:1], model(images[:1]))


@pytest.mark.parametrize("fault", ["no-position", "position-frozen-zero"])
def test_without_position_a_shuffle_of_the_patches_goes_unseen(fault: str) -> None:
    model, images = bad(fault), images_for(SPEC)
    order = torch.randperm(SPEC.patches, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(model(images), model(shuffled(images, SPEC, order)), atol=1e-9, rtol=0)
    sound = bad("none")
    assert not torch.allclose(sound(images), sound(shuffled(images, SPEC, order)), atol=1e-3)


def test_no_position_holds_an_embedding_without_gradient_and_frozen_zero_a_constant() -> None:
    model = bad("no-position")
    model(images_for(SPEC)).sum().backward()
    assert model.pos_embed.grad is None
    frozen = bad("position-frozen-zero").pos_embed
    assert not frozen.requires_grad
    assert not frozen.any()


def test_scrambled_patches_one_changed_patch_moves_all_tokens() -> None:
    changed = images_for(SPEC)
    changed[:, :, : SPEC.patch_size[0], : SPEC.patch_size[1]] += 1
    moved = {}
    for fault in ("none", "scrambled-patches"):
        embed = bad(fault).patch_embed
        difference = (embed(changed) - embed(images_for(SPEC))).abs().sum(dim=2)[0]
        moved[fault] = int((difference > 0).sum())
    assert moved == {"none": 1, "scrambled-patches": SPEC.patches}


def test_no_residual_replaces_what_was_there() -> None:
    for fault, expected in (("none", True), ("no-residual", False)):
        block = bad(fault).blocks[0]
        with torch.no_grad():
            for last in (block.attn.out_proj, block.mlp.fc2):
                last.weight.zero_()
                last.bias.zero_()
        assert torch.equal(block(tokens()), tokens()) is expected


def test_post_norm_ends_each_block_with_a_norm_and_ignores_scale() -> None:
    block = bad("post-norm").blocks[0]
    with torch.no_grad():
        for norm in (block.norm1, block.norm2):
            norm.weight.fill_(1)
            norm.bias.zero_()
    out = block(tokens())
    assert torch.allclose(out.mean(dim=-1), torch.zeros_like(out[..., 0]), atol=1e-9)
    assert torch.allclose(out.var(dim=-1, unbiased=False), torch.ones_like(out[..., 0]), atol=1e-3)


def test_norm_unused_leaves_the_last_norm_without_gradient() -> None:
    model = bad("norm-unused")
    model(images_for(SPEC)).sum().backward()
    assert model.norm.weight.grad is None
    assert all(p.grad is not None for n, p in model.named_parameters() if not n.startswith("norm."))


def test_mlp_without_activation_is_affine() -> None:
    a, b = tokens(1), tokens(2)[1:]
    for fault, affine in (("none", False), ("mlp-without-activation", True)):
        mlp = bad(fault).blocks[0].mlp
        assert torch.allclose(mlp(a + b) + mlp(0 * a), mlp(a) + mlp(b), atol=1e-9) is affine


def test_softmax_head_returns_probabilities() -> None:
    rows = bad("softmax-head")(10 * images_for(SPEC))
    assert rows.min() >= 0
    assert torch.allclose(rows.sum(dim=1), torch.ones(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(rows, bad("none")(10 * images_for(SPEC)).softmax(dim=-1))


def test_dropout_always_on_makes_evaluation_random() -> None:
    images = images_for(SPEC)
    for fault in FAULTS:
        model = bad(fault)
        assert torch.equal(model(images), model(images)) is (fault != "dropout-always-on"), fault
    assert torch.allclose(bad("dropout-always-on", dropout=0)(images), bad("none")(images))


@pytest.mark.parametrize(("fault", "attention", "mlp"), [("none", 0.1, 0.1), ("double-dropout", 0.1, 0.19)])
def test_double_dropout_drops_more_of_the_mlp(fault: str, attention: float, mlp: float) -> None:
    torch.manual_seed(0)
    block = bad(fault).train().blocks[0]
    x = tokens(200)
    dropped = {}
    for branch, silenced in {"attention": "mlp.fc2", "mlp": "attn.out_proj"}.items():
        alone = copy.deepcopy(block)
        with torch.no_grad():
            alone.get_submodule(silenced).weight.zero_()
            alone.get_submodule(silenced).bias.zero_()
        dropped[branch] = (alone(x) == x).double().mean().item()  # where nothing was added
    assert dropped["attention"] == pytest.approx(attention, abs=0.01)
    assert dropped["mlp"] == pytest.approx(mlp, abs=0.01)


def test_cls_detached_trains_the_head_only() -> None:
    model = bad("cls-detached")
    model(images_for(SPEC)).sum().backward()
    assert {name for name, p in model.named_parameters() if p.grad is not None} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("fault", ["norm-unused", "softmax-head", "cls-detached", "post-norm", "no-residual"])
def test_faults_keep_the_names_and_shapes_of_the_weights(fault: str) -> None:
    sound, faulty = bad("none").state_dict(), bad(fault).state_dict()
    assert {n: t.shape for n, t in sound.items()} == {n: t.shape for n, t in faulty.items()}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_can_be_copied_and_pickled_whole(fault: str) -> None:
    model = bad(fault)
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert str(twin) == str(model)
        assert [n for n, _ in twin.named_parameters()] == [n for n, _ in model.named_parameters()]


@pytest.mark.parametrize("spec", [GoodViTSpec(**SPECIMEN), SPEC], ids=["good", "bad"])
def test_an_image_of_another_size_is_refused_with_both_sizes(spec: GoodViTSpec | BadViTSpec) -> None:
    with pytest.raises(ModelError, match=r"\(B, 3, 8, 12\), got \(2, 3, 12, 8\)"):
        specimen(spec)(torch.zeros(2, 3, 12, 8, dtype=torch.float64))
