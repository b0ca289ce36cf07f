"""Every family of ViTs through the lens: the forward is the model's own, each map is proved, and the parts are found by what they do."""

from __future__ import annotations

from importlib.util import find_spec
from itertools import pairwise

import pytest
import torch
from lens_samples import FAMILIES, Family, tiny_image
from torch import nn

from vitscope.lens.trace import Trace, scores_of, trace


@pytest.fixture(params=FAMILIES, scope="module")
def looked_at(request: pytest.FixtureRequest) -> tuple[Family, nn.Module, Trace]:
    family = FAMILIES[request.param]
    if family.needs is not None and find_spec(family.needs) is None:
        pytest.skip(f"{family.needs} is not installed; the extra 'bench' has it")
    torch.manual_seed(0)
    model = family.build()
    return family, model, trace(model, tiny_image())


def test_the_scores_are_the_models_own(looked_at: tuple[Family, nn.Module, Trace]) -> None:
    _, model, found = looked_at
    model.eval()
    with torch.no_grad():
        assert torch.allclose(found["logits"], scores_of(model(tiny_image()))[0], atol=1e-5)
        torch.backends.mha.set_fastpath_enabled(
            False
        )  # as under the lens; with it torch's own layers round in another way
        try:
            assert torch.equal(found["logits"], scores_of(model(tiny_image()))[0])
        finally:
            torch.backends.mha.set_fastpath_enabled(True)


def test_every_map_is_proved(looked_at: tuple[Family, nn.Module, Trace]) -> None:
    family, _, found = looked_at
    assert len(found.attentions) == len(found.anatomy.blocks) == (1 if "block01/q" not in found else 2)
    assert found.worst_error < 1e-5
    for attention in found.attentions:
        assert attention.over_keys
        assert torch.allclose(attention.map.sum(dim=-1), torch.ones(attention.map.shape[:-1]))
        assert family.fused is None or attention.is_fused is family.fused


def test_tokens_and_head_are_found(looked_at: tuple[Family, nn.Module, Trace]) -> None:
    family, _, found = looked_at
    patches = found.layout.grid[0] * found.layout.grid[1]
    assert len(found.layout.extra) == family.extra
    assert len(found.reads) == family.reads
    assert sorted(found.layout.token_of_patch) == list(range(patches))
    assert found["patch_embedding"].shape[0] == patches
    assert found["block00/after_attention"].shape[0] == patches + family.extra
    assert found.anatomy.head


def test_patches_put_back_are_the_image(looked_at: tuple[Family, nn.Module, Trace]) -> None:
    _, _, found = looked_at
    if found.layout.pixels is None:
        assert "patches" not in found
        return
    image = torch.full((found["image"].numel(),), torch.nan)
    image[found.layout.pixels] = found["patches"]
    assert torch.equal(image.view_as(found["image"]), found["image"])


def test_what_a_block_takes_is_what_the_one_before_it_left(looked_at: tuple[Family, nn.Module, Trace]) -> None:
    _, _, found = looked_at
    for block, following in pairwise(found.anatomy.blocks):
        assert block.after_mlp is not None
        assert following.enters is not None
        between = found.tape.calls[block.after_mlp.number : following.enters.number + 1]
        assert all(call.name in {"add", "native_layer_norm"} for call in between)  # post-norm has its norm there


def test_the_tape_played_again_gives_the_same_scores(looked_at: tuple[Family, nn.Module, Trace]) -> None:
    _, model, found = looked_at
    other = tiny_image(1)
    with torch.no_grad():
        assert torch.equal(
            found.tape.play({None: found.tape.image}, found.anatomy.logits), found.tape.value(found.anatomy.logits)
        )
        assert torch.allclose(
            found.tape.play({None: other}, found.anatomy.logits), scores_of(model.eval()(other)), atol=1e-6
        )
