"""A trace holds the model's own numbers under the names that others rely on, changes nothing, and refuses what it cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from lens_samples import FAMILIES, OURS, ByHand, SequenceFirst, tiny_image
from torch import Tensor, nn

import vitscope
from vitscope._core.errors import LensError
from vitscope.lens.layout import MIXED
from vitscope.lens.trace import trace
from vitscope.model.create import create_model


def our_vit(**changed: Any) -> nn.Module:
    torch.manual_seed(0)
    return create_model("vit-ti4-32", **{**OURS, **changed})


def test_names_and_shapes_are_those_of_the_contract() -> None:
    found = vitscope.trace(our_vit(), tiny_image()[0])
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    assert shapes == {
        "image": (3, 32, 32),
        "patches": (16, 192),
        "patch_embedding": (16, 48),
        "with_class": (17, 48),
        "with_position": (17, 48),
        **{
            f"block0{block}/{name}": shape
            for block in (0, 1)
            for name, shape in (
                ("q", (4, 17, 12)),
                ("k", (4, 17, 12)),
                ("v", (4, 17, 12)),
                ("attention", (4, 17, 17)),
                ("after_attention", (17, 48)),
                ("after_mlp", (17, 48)),
            )
        },
        "final_norm": (17, 48),
        "pooled": (48,),
        "logits": (10,),
        "probabilities": (10,),
    }


def test_each_number_is_the_models_own() -> None:
    """Against the same model walked by hand, part by part."""
    model = our_vit().eval()
    found = trace(model, tiny_image())
    with torch.no_grad():
        x = model.patch_embedding(tiny_image())
        assert torch.equal(found["patch_embedding"], x[0])
        x = model.class_token(x)
        assert torch.equal(found["with_class"], x[0])
        x = model.position(x)
        assert torch.equal(found["with_position"], x[0])
        for number, block in enumerate(model.blocks):
            q, k, v = block.attention.qkv(block.attention_norm(x)).view(1, 17, 3, 4, 12).permute(2, 0, 3, 1, 4)
            here = f"block{number:02}/"
            assert torch.allclose(found[here + "k"], k[0])
            assert torch.allclose(found[here + "v"], v[0])
            assert torch.allclose(
                found[here + "q"], q[0] / 12**0.5, atol=1e-7
            )  # scaled before the product, so found so
            weights = torch.softmax(q[0] @ k[0].mT / 12**0.5, dim=-1)
            assert torch.allclose(found[here + "attention"], weights, atol=1e-6)
            x = x + block.attention(block.attention_norm(x))
            assert torch.equal(found[here + "after_attention"], x[0])
            x = x + block.mlp(block.mlp_norm(x))
            assert torch.equal(found[here + "after_mlp"], x[0])
        x = model.final_norm(x)
        assert torch.equal(found["final_norm"], x[0])
        assert torch.equal(found["pooled"], x[0, 0])
        assert torch.equal(found["logits"], model.head(x[:, 0])[0])
    assert torch.allclose(found["probabilities"].sum(), torch.ones(()))


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Nothing about a model or the process may be another afterwards."""

    def state() -> tuple[Any, ...]:
        return (
            [(len(m._forward_hooks), len(m._forward_pre_hooks), m.training, list(vars(m))) for m in model.modules()],
            [(p.grad, p.requires_grad, p._version) for p in model.parameters()],
            torch.get_rng_state().tolist(),
            torch.backends.mha.get_fastpath_enabled(),
            torch.is_grad_enabled(),
        )

    before = state()
    yield
    assert state() == before


class Raising(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = SequenceFirst()

    def forward(self, x: Tensor) -> Tensor:
        self.inner(x)
        raise ValueError("on purpose")


@pytest.mark.parametrize("name", ["vitscope", "by hand", "sequence first"])
def test_nothing_is_left_behind(name: str) -> None:
    model = FAMILIES[name].build().train()
    image = tiny_image()
    with unchanged(model):
        trace(model, image)
    assert torch.equal(image, tiny_image())


def test_nothing_is_left_behind_when_the_model_raises() -> None:
    model = Raising()
    with unchanged(model), pytest.raises(LensError, match="with ValueError: on purpose") as refusal:
        trace(model, tiny_image())
    assert isinstance(refusal.value.__cause__, ValueError)


def test_a_model_in_training_is_looked_at_in_evaluation() -> None:
    model = our_vit(dropout=0.5).train()
    assert torch.equal(trace(model, tiny_image())["logits"], trace(model.eval(), tiny_image())["logits"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_proved_within_their_own(dtype: torch.dtype) -> None:
    found = trace(our_vit().to(dtype), tiny_image().to(dtype))
    assert found["logits"].dtype == dtype
    assert found.worst_error < (1e-12 if dtype == torch.float64 else 2e-2)


def test_what_was_written_over_is_kept() -> None:
    """`ByHand` adds its branches in place: the tokens that each block took are still there."""
    torch.manual_seed(0)
    model = ByHand().eval()
    found = trace(model, tiny_image())
    with torch.no_grad():
        patches = tiny_image().unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(16, 192)
        assert torch.allclose(found["patch_embedding"], model.cut(patches), atol=1e-6)
        tokens = torch.cat([model.first[0], model.cut(patches), model.registers[0]])
        assert torch.allclose(found["with_class"], tokens, atol=1e-6)
        middle = found["block00/after_attention"]
        after = middle + model.narrow[0](torch.relu(model.wide[0](model.norm(middle))))
        assert torch.allclose(found["block00/after_mlp"], after, atol=1e-6)


def test_a_replaced_intermediate_acts_on_what_follows_only() -> None:
    """Against a hook that replaces the same thing: the second block's attention says nothing."""
    model = our_vit().eval()
    nn.init.normal_(model.head.weight)
    found = trace(model, tiny_image())
    attention = found.attentions[1]
    silent = torch.zeros_like(attention.ends.outputs[0])
    played = found.tape.play({attention.ends: silent}, found.anatomy.logits)
    bias = model.blocks[1].attention.out.bias
    handle = model.blocks[1].attention.register_forward_hook(lambda *_: bias.expand(1, 17, -1))
    with torch.no_grad():
        assert torch.allclose(played, model(tiny_image()), atol=1e-6)
    handle.remove()
    assert not torch.allclose(played[0], found["logits"])
    assert torch.equal(found.tape.value(found.anatomy.logits)[0], found["logits"])


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("batch-mixing", "no token meets another"),
        ("no-position", "no position embedding is added to the tokens"),
        ("no-residual", "no residual connection"),
        ("norm-unused", "no norm behind the last block"),
        ("scrambled-patches", "mixed into one token"),
        ("none", None),
    ],
)
def test_what_a_fault_changes_is_said(fault: str, said: str | None) -> None:
    torch.manual_seed(0)
    found = trace(create_model(f"bad-vit:{fault}", depth=2), tiny_image())
    notes = [note.en for note in found.notes]
    assert any(said in note for note in notes) if said else not notes
    assert all(note.ja != note.en for note in found.notes)


def test_under_batch_mixing_the_class_token_sees_only_itself() -> None:
    torch.manual_seed(0)
    found = trace(create_model("bad-vit", depth=2), tiny_image())
    assert torch.equal(found["block00/attention"], torch.eye(65).expand(3, -1, -1))


def test_scrambled_patches_are_seen_for_what_they_are() -> None:
    found = trace(create_model("bad-vit:scrambled-patches", depth=2), tiny_image())
    assert set(found.layout.patch_of_token[1:]) == {MIXED}


class Windows(SequenceFirst):
    """Attention in windows of four tokens."""

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.cut(x).flatten(2).mT.reshape(-1, 4, 48).transpose(0, 1)
        for layer in self.layers:
            tokens = layer(tokens)
        scores: Tensor = self.out(tokens.mean(dim=(0, 1))[None])
        return scores


class Forgetful(SequenceFirst):
    def forward(self, x: Tensor) -> Any:
        return {"features": super().forward(x)[..., None]}


def cnn() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (cnn, "there is no attention in this model"),
        (Windows, "spans 4 of 16 tokens"),
        (Forgetful, "gives back a dict without scores"),
        (lambda: nn.Conv2d(3, 8, 3), "gives back a tensor of shape (1, 8, 30, 30), expected scores"),
    ],
    ids=["cnn", "windows", "no scores", "no classes"],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(build: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(LensError) as refusal:
        trace(build(), tiny_image())
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (32, 32), (1, 1, 3, 32, 32)])
def test_one_image_at_a_time(shape: tuple[int, ...]) -> None:
    with pytest.raises(LensError, match="takes one image"):
        trace(our_vit(), torch.zeros(shape))


def test_a_map_that_is_not_the_modules_own_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proof that cannot fail is none: a map that is a little wrong is refused."""
    from vitscope.lens import attention

    right = attention.made_again
    monkeypatch.setattr(
        attention, "made_again", lambda tape, way, *start, **how: right(tape, way, *start, **how).roll(1, dims=-1)
    )
    with pytest.raises(LensError, match=r"map · v is off by .*; no picture is drawn of it"):
        trace(our_vit(), tiny_image())


def test_it_prints_in_a_line_and_names_what_it_has() -> None:
    found = trace(our_vit(), tiny_image())
    assert repr(found).startswith(
        "<Trace of 2 blocks, 17 tokens (4×4 patches), 21 intermediates; largest error of map · v: "
    )
    with pytest.raises(KeyError, match="the trace has no 'block00/queries'; it has image, patches"):
        found["block00/queries"]
