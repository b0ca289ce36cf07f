"""ViTs that users write and that a lens gets wrong in silence: each is shown rightly, or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lens_samples import tiny_image
from torch import Tensor, nn

from vitscope._core.errors import LensError
from vitscope.lens.anatomy import as_tokens
from vitscope.lens.forward import refuse_model
from vitscope.lens.layout import _tokens_of
from vitscope.lens.trace import Trace, _refuse_image, trace
from vitscope.lens.views.embedding import positions
from vitscope.model.create import create_model

Core = Callable[[Tensor, Tensor, Tensor], Tensor]


def plain_core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(q @ k.mT * q.shape[-1] ** -0.5, dim=-1) @ v


class Block(nn.Module):
    def __init__(self, core: Core, add: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.core, self.add = core, add
        self.n1, self.n2 = nn.LayerNorm(48), nn.LayerNorm(48)
        self.qkv, self.out = nn.Linear(48, 144), nn.Linear(48, 48)
        self.mlp = nn.Sequential(nn.Linear(48, 96), nn.GELU(), nn.Linear(96, 48))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(self.n1(x)).view(len(x), -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
        x = self.add(x, self.out(self.core(q, k, v).transpose(1, 2).flatten(2)))
        return self.add(x, self.mlp(self.n2(x)))


class Written(nn.Module):
    """A ViT whose way of cutting, core of attention, sum or reading is handed in."""

    def __init__(
        self,
        *,
        cut: Callable[[Any, Tensor], Tensor] | None = None,
        core: Core = plain_core,
        cores: tuple[Core, ...] = (),
        add: Callable[[Tensor, Tensor], Tensor] = torch.add,
        read: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(3, 48, 8, 8), nn.Linear(192, 48)
        self.first, self.place = nn.Parameter(torch.randn(1, 1, 48)), nn.Parameter(torch.randn(1, 17, 48))
        self.blocks = nn.ModuleList(Block(each, add) for each in (cores or (core, core)))
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 10)
        self.cut, self.read = cut or (lambda s, x: by_conv(s, x)), read or (lambda x: x[:, 0])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.first, self.cut(self, x)], dim=1) + self.place
        for block in self.blocks:
            x = block(x)
        scores: Tensor = self.head(self.read(self.norm(x)))
        return scores


def by_conv(model: Any, x: Tensor) -> Tensor:
    return model.conv(x).flatten(2).mT


def in_rows(x: Tensor, order: tuple[int, ...]) -> Tensor:
    return x.reshape(1, 3, 4, 8, 4, 8).permute(*order).reshape(1, 16, 192)


BACKWARDS = torch.arange(15, -1, -1)
CUTS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "plain": by_conv,
    "tokens flipped": lambda s, x: by_conv(s, x).flip(1),
    "tokens rolled": lambda s, x: by_conv(s, x).roll(1, 1),
    "tokens by index": lambda s, x: by_conv(s, x)[:, BACKWARDS],
    "tokens gathered": lambda s, x: torch.gather(by_conv(s, x), 1, BACKWARDS[None, :, None].expand(1, -1, 48)),
    "image flipped": lambda s, x: by_conv(s, x.flip(-1)),
    "image turned": lambda s, x: by_conv(s, x.mT),
    "channels swapped": lambda s, x: by_conv(s, x[:, [2, 1, 0]]),
    "conv, column by column": lambda s, x: s.conv(x).transpose(2, 3).flatten(2).mT,
    "linear": lambda s, x: s.linear(in_rows(x, (0, 2, 4, 3, 5, 1))),
    "linear, column by column": lambda s, x: s.linear(in_rows(x, (0, 4, 2, 3, 5, 1))),
    "linear, backwards": lambda s, x: s.linear(in_rows(x, (0, 2, 4, 1, 3, 5))[:, BACKWARDS]),
    "normalised inside": lambda s, x: by_conv(s, (x - 0.4) / 0.2),
}


def follows(found: Trace) -> dict[int, int]:
    """For each patch, by changing its pixels, the one token that changes."""
    entering = _tokens_of(found.anatomy)
    was, truth = as_tokens(found.tape.value(entering)), {}
    for patch in range(16):
        row, column = divmod(patch, 4)
        image = found.tape.image.clone()
        image[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] += torch.randn(3, 8, 8)
        now = as_tokens(found.tape.play({None: image}, entering))
        (truth[patch],) = (now != was).any(dim=1).nonzero().flatten().tolist()
    return truth


@pytest.mark.parametrize("name", CUTS)
def test_each_token_is_that_of_the_patch_whose_pixels_move_it(name: str) -> None:
    found = trace(Written(cut=CUTS[name]), tiny_image())
    assert found.layout.token_of_patch == follows(found)
    image = tiny_image()[0]
    for patch in range(16):
        row, column = divmod(patch, 4)
        square = image[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
        assert torch.equal(found["patches"][patch].sort().values, square.flatten().sort().values)


def test_tokens_that_are_sorted_by_what_they_hold_stand_where_this_image_puts_them() -> None:
    def sorted_tokens(model: Any, x: Tensor) -> Tensor:
        tokens = by_conv(model, x)
        return torch.take_along_dim(tokens, tokens.norm(dim=-1).argsort(1)[..., None], 1)

    model = Written(cut=sorted_tokens)
    found = trace(model, tiny_image())
    order = by_conv(model, tiny_image())[0].norm(dim=-1).argsort().tolist()
    assert found.layout.patch_of_token == (-1, *order)
    assert ["follows pixels of other patches as well" in note.en for note in found.notes] == [True]


@pytest.mark.parametrize(
    "cut",
    [
        lambda s, x: by_conv(s, F.interpolate(x, (32, 32))),
        lambda s, x: by_conv(s, x.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)),
        lambda s, x: (lambda y: y + y.roll(1, 1))(by_conv(s, x)),
    ],
    ids=["resized", "greyed", "neighbours"],
)
def test_patches_that_are_not_the_images_own_pixels_are_not_shown(cut: Callable[[Any, Tensor], Tensor]) -> None:
    found = trace(
        Written(cut=cut), torch.randn(1, 3, 64, 64) if "interpolate" in cut.__code__.co_names else tiny_image()
    )
    assert found.layout.grid == (4, 4)
    assert "patches" not in found


def divided(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    a = (q @ k.mT * 12**-0.5).exp()
    return (a / a.sum(dim=-1, keepdim=True)) @ v


def largest_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = torch.einsum("bhid,bhjd->bhij", q, k) / 12**0.5
    raised = torch.exp(scores - scores.max(dim=-1, keepdim=True)[0])
    return torch.einsum("bhij,bhjd->bhid", raised * raised.sum(dim=-1, keepdim=True).reciprocal(), v)


def in_place(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = (q * 12**-0.5) @ k.mT
    scores.sub_(scores.amax(dim=-1, keepdim=True)).exp_()
    return scores.div_(scores.sum(dim=-1, keepdim=True)) @ v


def by_logarithms(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    scores = q @ k.mT * 12**-0.5
    return (scores - scores.logsumexp(dim=-1, keepdim=True)).exp() @ v


@pytest.mark.parametrize("core", [divided, largest_first, in_place, by_logarithms])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_softmax_that_is_written_out_is_one(core: Core, dtype: torch.dtype) -> None:
    image = tiny_image().to(dtype)
    ours, theirs = (trace(Written(cores=(each,) * 3).to(dtype), image) for each in (core, plain_core))
    for block in range(3):
        name = f"block{block:02}/attention"
        torch.testing.assert_close(ours[name], theirs[name])
        torch.testing.assert_close(ours[name].sum(dim=-1), torch.ones_like(ours[name][..., 0]))


def looked_at(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    (q @ k.mT * 12**-0.5).softmax(dim=-1).mean(dim=1).detach()  # kept for a picture
    return torch.nn.functional.scaled_dot_product_attention(q, k, v)


def test_a_map_that_is_computed_once_more_is_no_further_attention() -> None:
    found = trace(Written(cores=(looked_at,) * 3), tiny_image())
    assert len(found.attentions) == 3
    assert all(attention.is_fused for attention in found.attentions)


def sigmoid_core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.sigmoid(q @ k.mT) @ v / k.shape[-2]


def with_a_sink(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    raised = (q @ k.mT * 12**-0.5).exp()
    return (raised / (1 + raised.sum(dim=-1, keepdim=True))) @ v


def linear_core(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return q.softmax(dim=-1) @ (k.softmax(dim=-2).mT @ v)


def across_heads(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    mixed = torch.softmax(q @ k.mT * 12**-0.5, dim=-1).permute(0, 2, 3, 1) @ torch.ones(4, 4)
    return mixed.permute(0, 3, 1, 2) @ v


@pytest.mark.parametrize("core", [linear_core, across_heads, sigmoid_core, with_a_sink])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_an_attention_that_is_not_known_is_never_left_out_in_silence(core: Core, place: int) -> None:
    cores = [plain_core] * 3
    cores[place] = core
    with pytest.raises(LensError) as refusal:
        trace(Written(cores=tuple(cores)), tiny_image())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "add",
    [
        lambda x, branch: 0.9 * x + branch,
        lambda x, branch: branch + x.clone(),
        lambda x, branch: (x.double() + branch.double()).to(x.dtype),
        lambda x, branch: x.view(1, -1, 48) + branch,
    ],
    ids=["scaled", "cloned", "cast", "viewed"],
)
def test_a_skip_connection_may_be_scaled_cast_or_viewed(add: Callable[[Tensor, Tensor], Tensor]) -> None:
    found = trace(Written(add=add), tiny_image())
    assert (len(found.anatomy.blocks), found.reads, found.class_token) == (2, (0,), 0)
    assert not found.notes
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]


def test_grouped_queries_are_proved() -> None:
    def grouped(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k[:, :2], v[:, :2], enable_gqa=True)

    found = trace(Written(core=grouped), tiny_image())
    assert found["block00/attention"].shape == (4, 17, 17)
    assert found.worst_error < 1e-5


def test_queries_and_keys_have_their_names_however_the_map_is_made() -> None:
    cores: dict[str, Core] = {
        "keys first, turned": lambda q, k, v: (k @ q.mT * 12**-0.5).mT.softmax(dim=-1) @ v,
        "keys first, softmax down": lambda q, k, v: (k @ q.mT * 12**-0.5).softmax(dim=-2).mT @ v,
        "values from the left": lambda q, k, v: (v.mT @ torch.softmax(q @ k.mT * 12**-0.5, dim=-1).mT).mT,
    }
    usual = trace(Written(), tiny_image())
    for name, core in cores.items():
        found = trace(Written(core=core), tiny_image())
        assert torch.allclose(found["block00/attention"], usual["block00/attention"], atol=1e-6), name
        for part in ("q", "k", "v"):
            ratio = found[f"block00/{part}"] / usual[f"block00/{part}"]
            assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-3), (
                name,
                part,
            )  # scaled before or behind the product


def test_a_map_that_is_scaled_behind_the_softmax_is_shown_as_it_is_used() -> None:
    found = trace(Written(core=lambda q, k, v: (torch.softmax(q @ k.mT, dim=-1) * 0.5) @ v), tiny_image())
    assert torch.allclose(found["block00/attention"].sum(dim=-1), torch.tensor(0.5))
    assert sum("do not sum to one" in note.en for note in found.notes) == 2


def test_a_softmax_along_the_queries_is_said() -> None:
    found = trace(Written(core=lambda q, k, v: torch.softmax(q @ k.mT, dim=-2) @ v), tiny_image())
    assert torch.allclose(found["block00/attention"].sum(dim=-2), torch.ones(()))
    assert not found.attentions[0].over_keys
    assert sum("softmax runs along the queries" in note.en for note in found.notes) == 2


def test_a_block_whose_branches_come_back_together_is_said_to_be_one() -> None:
    class Parallel(Block):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(self.n1(x)).view(len(x), -1, 3, 4, 12).permute(2, 0, 3, 1, 4)
            return x + (self.out(self.core(q, k, v).transpose(1, 2).flatten(2)) + self.mlp(self.n2(x)))

    model = Written()
    model.blocks = nn.ModuleList(Parallel(plain_core, torch.add) for _ in range(2))
    found = trace(model, tiny_image())
    assert "block00/after_attention" not in found
    with torch.no_grad():
        first = found["with_position"][None]
        assert torch.allclose(found["block00/after_mlp"], model.blocks[0](first)[0], atol=1e-6)
    assert [block.path for block in found.anatomy.blocks] == ["blocks.0", "blocks.1"]
    assert [("a parallel block" in note.en) for note in found.notes] == [True, True]


def test_inference_mode_hides_nothing() -> None:
    model = Written()
    with torch.inference_mode():
        found = trace(model, tiny_image())
    assert torch.allclose(found["block01/attention"], trace(model, tiny_image())["block01/attention"], atol=1e-6)


def test_dropout_that_is_never_off_does_not_make_every_token_read() -> None:
    model, state = Written(read=lambda x: F.dropout(x[:, 0], 0.1)), torch.get_rng_state()
    assert trace(model, tiny_image()).reads == (0,)
    assert torch.equal(torch.get_rng_state(), state)


def test_tokens_that_are_joined_with_themselves_are_followed_once() -> None:
    def shuffled(model: Any, x: Tensor) -> Tensor:
        tokens = by_conv(model, x)
        for _ in range(40):  # twice the work each time would never end
            tokens = torch.cat([tokens[..., 24:], tokens[..., :24]], dim=-1)
        return tokens

    assert trace(Written(cut=shuffled), tiny_image()).layout.patch_of_token == (-1, *range(16))


def test_a_part_that_fails_and_is_caught_does_not_move_the_names() -> None:
    class Failing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError

    class Careful(Written):
        def __init__(self) -> None:
            super().__init__()
            self.failing = Failing()

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.failing(x)
            except ValueError:
                return super().forward(x)

    assert [block.path for block in trace(Careful(), tiny_image()).anatomy.blocks] == ["blocks.0", "blocks.1"]


def test_a_wrapper_changes_nothing() -> None:
    assert torch.equal(
        trace(nn.DataParallel(Written()), tiny_image())["block01/attention"],
        trace(Written(), tiny_image())["block01/attention"],
    )


def test_two_models_in_one_are_no_deeper_one() -> None:
    class Ensemble(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = Written(), Written()

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) + self.b(x)

    with pytest.raises(LensError, match="several models or passes in one"):
        trace(Ensemble(), tiny_image())


def test_a_users_own_train_method_is_not_called() -> None:
    """LoRA layers merge their weights there."""

    class Merging(Written):
        def train(self, mode: bool = True) -> Any:
            raise AssertionError("merged")

    model = Merging()
    model.training = True
    trace(model, tiny_image())
    assert model.training


def test_a_model_that_writes_into_its_image_leaves_it_as_it_was_shown() -> None:
    found = trace(Written(cut=lambda s, x: by_conv(s, x.sub_(0.5).div_(0.5))), tiny_image())
    assert torch.equal(found["image"], tiny_image()[0])


@pytest.mark.parametrize(
    ("refuse", "given", "words"),
    [
        (refuse_model, lambda x: x, "trace takes an nn.Module, got a function"),
        (_refuse_image, [[1.0]], "trace takes an image as a tensor"),
        (refuse_model, torch.jit.trace(Written().eval(), tiny_image()), "TorchScript"),
        (refuse_model, Written().to("meta"), "meta device"),
    ],
    ids=["function", "list", "scripted", "meta"],
)
def test_what_cannot_run_is_refused(refuse: Callable[[Any], None], given: Any, words: str) -> None:
    with pytest.raises(LensError, match=words):
        refuse(given)  # by itself: while tests run, types are checked before it


@pytest.mark.parametrize(
    "answer",
    [
        lambda y: {"last_hidden_state": y[:, None], "pooler_output": y},
        lambda y: type("Answer", (), {"logits": y[:, None]})(),
    ],
    ids=["no logits", "logits of tokens"],
)
def test_what_is_no_score_is_not_taken_for_one(answer: Callable[[Tensor], Any]) -> None:
    class Other(Written):
        def forward(self, x: Tensor) -> Any:
            return answer(super().forward(x))

    with pytest.raises(LensError, match="expected scores of shape"):
        trace(Other(), tiny_image())


def test_one_patch_may_be_the_whole_image_and_lie_in_memory_as_it_likes() -> None:
    model = create_model("vit-ti4-32", image_size=16, patch_size=16, dim=24, depth=1, heads=2)
    image = torch.randn(16, 16, 3).permute(2, 0, 1)  # as it comes from a picture
    found = trace(model, image)
    assert found.layout.grid == (1, 1)
    assert torch.equal(found["patches"][0].sort().values, image.flatten().sort().values)


def test_positions_of_patches_are_found_among_registers_that_have_none() -> None:
    model = create_model("vit-ti4-32", image_size=16, dim=24, depth=1, heads=2, registers=3)
    table = model.get_parameter("position.table").detach().reshape(-1, 24)[-16:].double()
    rows = table / table.norm(dim=1, keepdim=True)
    found = positions(trace(model, torch.randn(3, 16, 16)))
    assert torch.allclose(found.cosines, (rows @ rows.T).float(), atol=1e-5)
