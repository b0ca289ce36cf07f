"""What the views say of a trace, against the same quantity worked out by hand on the model itself."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from lens_samples import OURS, ByHand, KeysFirst, tiny_image
from torch import nn

from vitscope._core.errors import LensError
from vitscope._core.text import Text
from vitscope.lens.trace import Trace, trace
from vitscope.lens.views.attending import (
    Distance,
    Entropy,
    Rollout,
    attention_distance,
    attention_entropy,
    attention_rollout,
)
from vitscope.lens.views.embedding import positions
from vitscope.lens.views.experiments import LogitLens, Removal, Shuffling, logit_lens, removal, shuffling
from vitscope.lens.views.tokens import FAR, Likeness, Norms, token_likeness, token_norms
from vitscope.model.create import create_model


def our_vit(**changed: Any) -> Any:
    torch.manual_seed(0)
    model = create_model("vit-ti4-32", **{**OURS, **changed}).eval()
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(
            parameter
        )  # start values say nothing: position near zero, a head of zeros
    return model


def look(model: nn.Module) -> Trace:
    return trace(model, tiny_image())


def without_queries(**changed: Any) -> Any:
    """A model whose queries are zero: every token looks at all alike."""
    model = our_vit(**changed)
    for block in model.blocks:
        block.attention.qkv.weight.data[:48] = 0
        block.attention.qkv.bias.data[:48] = 0
    return model


def test_an_even_attention_has_the_mean_distance_and_the_most_bits() -> None:
    found = look(without_queries())
    places = [(8 * row + 4.0, 8 * column + 4.0) for row in range(4) for column in range(4)]
    apart = [((a - c) ** 2 + (b - d) ** 2) ** 0.5 for a, b in places for c, d in places]
    assert torch.allclose(attention_distance(found).pixels, torch.full((2, 4), sum(apart) / len(apart)))
    entropy = attention_entropy(found)
    assert torch.allclose(entropy.bits, torch.full((2, 4), entropy.most))
    assert entropy.most == pytest.approx(4.0874628)  # log2 of 17 tokens


def test_a_token_that_looks_at_itself_only_has_no_distance_and_no_bits() -> None:
    found = look(create_model("bad-vit", depth=2))
    assert torch.equal(attention_distance(found).pixels, torch.zeros(2, 3))
    assert torch.equal(attention_entropy(found).bits, torch.zeros(2, 3))
    assert torch.equal(attention_rollout(found).shares, torch.eye(65))


def test_distances_are_weighed_by_the_maps() -> None:
    """Two patches far apart, by hand, from the map itself."""
    found = look(our_vit())
    weights = found["block01/attention"][2, 1:, 1:].double()
    weights = weights / weights.sum(dim=1, keepdim=True)
    total = 0.0
    for a in range(16):
        for b in range(16):
            total += float(weights[a, b]) * 8 * ((a // 4 - b // 4) ** 2 + (a % 4 - b % 4) ** 2) ** 0.5
    assert float(attention_distance(found).pixels[1, 2]) == pytest.approx(total / 16, rel=1e-5)


def test_rollout_is_the_product_of_the_layers() -> None:
    found = look(our_vit())
    shares = attention_rollout(found).shares
    eye = torch.eye(17)
    first, second = (0.5 * found[f"block0{n}/attention"].mean(dim=0) + 0.5 * eye for n in (0, 1))
    assert torch.allclose(shares, second @ first, atol=1e-6)
    assert torch.allclose(shares.sum(dim=1), torch.ones(17))


@pytest.mark.parametrize("pooling", ["class-token", "mean"])
def test_the_logit_lens_reads_each_block_as_the_model_reads_the_last(pooling: str) -> None:
    model = our_vit(pooling=pooling)
    found = look(model)
    lens = logit_lens(found)
    assert torch.equal(lens.scores[-1], found["logits"])
    with torch.no_grad():
        for block in (0, 1):
            normed = model.final_norm(found[f"block0{block}/after_mlp"])
            read = normed[0] if pooling == "class-token" else normed.mean(dim=0)
            assert torch.allclose(lens.scores[block], model.head(read), atol=1e-5)
            patches = normed[1:] if pooling == "class-token" else normed
            assert torch.allclose(lens.patches[block], model.head(patches), atol=1e-5)


def test_a_block_that_is_taken_away_hands_its_tokens_on() -> None:
    model = our_vit()
    found = look(model)
    taken = removal(found)
    assert taken.target == int(found["logits"].argmax())
    for number in (0, 1):
        shorter = copy.deepcopy(model)
        shorter.blocks[number] = nn.Identity()
        with torch.no_grad():
            lost = shorter(tiny_image())[0, taken.target] - found["logits"][taken.target]
        assert float(taken.blocks[number]) == pytest.approx(float(lost), abs=1e-5)


def test_a_head_that_is_taken_away_gives_zeros() -> None:
    model = our_vit()
    taken = removal(look(model), target=3)
    assert taken.target == 3
    for number, head in ((0, 1), (1, 3)):
        silent = copy.deepcopy(model)
        silent.blocks[number].attention.out.weight.data[:, 12 * head : 12 * head + 12] = 0
        with torch.no_grad():
            lost = silent(tiny_image())[0, 3] - model(tiny_image())[0, 3]
        assert float(taken.heads[number, head]) == pytest.approx(float(lost), abs=1e-5)


def test_a_head_on_its_side_is_taken_away_too() -> None:
    torch.manual_seed(0)
    model = KeysFirst().eval()
    taken = removal(look(model), target=0)
    silent = copy.deepcopy(model)
    nn.init.zeros_(silent.v.weight)
    nn.init.zeros_(silent.v.bias)
    with torch.no_grad():
        lost = silent(tiny_image())[0, 0] - model(tiny_image())[0, 0]
    assert float(taken.heads[0, 0]) == pytest.approx(float(lost), abs=1e-5)


def test_only_the_position_embedding_tells_where_patches_are() -> None:
    model = our_vit()
    found = look(model)
    shown = shuffling(found, seed=1)
    assert torch.equal(shown.with_position[0], found["logits"])
    assert not torch.allclose(shown.with_position[0], shown.with_position[1], atol=1e-3)
    assert torch.allclose(shown.without_position[0], shown.without_position[1], atol=1e-4)
    image = tiny_image()[0]
    moved = torch.empty_like(image)
    for place, patch in enumerate(shown.order):
        (r, c), (row, column) = divmod(place, 4), divmod(patch, 4)
        moved[:, 8 * r : 8 * r + 8, 8 * c : 8 * c + 8] = image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
    with torch.no_grad():
        assert torch.allclose(shown.with_position[1], model(moved[None])[0], atol=1e-5)
        model.position.table.zero_()
        assert torch.allclose(shown.without_position[1], model(moved[None])[0], atol=1e-5)


def test_a_model_without_position_cannot_tell_either_way() -> None:
    shown = shuffling(look(our_vit(position="none")))
    assert torch.allclose(shown.with_position[0], shown.with_position[1], atol=1e-4)
    assert torch.equal(shown.with_position, shown.without_position)


def test_patches_that_overlap_cannot_be_shuffled() -> None:
    with pytest.raises(LensError, match="the patches of this model overlap"):
        shuffling(look(our_vit(patch_embedding="conv-tokenizer", tokenizer_layers=3)))


def test_a_large_token_is_seen_and_only_that() -> None:
    model = our_vit()
    model.position.table.data[0, 6] *= 100
    norms = token_norms(look(model))
    assert norms.norms.shape == (3, 17)
    assert norms.outliers[0].nonzero().flatten().tolist() == [6]
    assert float(norms.norms[0, 6]) > FAR * float(norms.norms[0].median())
    assert not token_norms(look(our_vit())).outliers[0].any()


def test_tokens_that_say_the_same_are_alike() -> None:
    model = our_vit()
    model.position.table.data[:] = 1000
    alike, usual = token_likeness(look(model)).cosines, token_likeness(look(our_vit())).cosines
    assert alike.shape == (3,)
    assert float(alike[0]) > 0.999
    first = look(our_vit())["with_position"][1:].double()
    directions = first / first.norm(dim=1, keepdim=True)
    pairs = [float(directions[a] @ directions[b]) for a in range(16) for b in range(16) if a != b]
    assert float(usual[0]) == pytest.approx(sum(pairs) / len(pairs), abs=1e-5)


def test_without_sums_there_are_no_tokens_to_follow_by_depth() -> None:
    torch.manual_seed(0)
    found = look(create_model("bad-vit:no-residual", depth=2))
    for view in (token_norms, token_likeness, logit_lens, removal):
        with pytest.raises(LensError):
            view(found)


def test_where_patches_are_mixed_nothing_is_said_of_one() -> None:
    torch.manual_seed(0)
    found = look(create_model("bad-vit:scrambled-patches", depth=2))
    for view in (positions, logit_lens, attention_distance):
        with pytest.raises(LensError, match="do not stand for one patch each"):
            view(found)


def test_views_work_on_a_model_that_was_written_by_hand() -> None:
    torch.manual_seed(0)
    found = look(ByHand().eval())
    assert attention_distance(found).pixels.shape == (2, 4)
    assert torch.equal(logit_lens(found).scores[-1], found["logits"])
    assert removal(found).heads.shape == (2, 4)
    shown = shuffling(found)  # it has no position embedding
    assert torch.allclose(shown.with_position[0], shown.with_position[1], atol=1e-4)


@pytest.mark.parametrize("view", [Distance, Entropy, Rollout, LogitLens, Removal, Shuffling, Norms, Likeness])
def test_every_view_carries_its_caveat_in_both_languages(view: Any) -> None:
    assert isinstance(view.caveat, Text)
    assert view.caveat.en.endswith((".", ")"))
    assert any("ぁ" <= letter <= "ん" for letter in view.caveat.ja)
