"""Each proof of a stage where it holds and where it does not; and honest models, odd as they are, that none of them accuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from look_samples import TINY, our_vit
from torch import Tensor, nn

from vitscope.lens import proofs
from vitscope.lens.proofs import Proof
from vitscope.lens.trace import Trace, trace
from vitscope.model.create import build
from vitscope.model.presets import parse_model

ALL: tuple[Callable[[Trace], Proof | None], ...] = (
    proofs.embedding_is_linear,
    proofs.extra_tokens_ignore_the_image,
    proofs.position_ignores_the_image,
    proofs.maps_give_what_the_module_gave,
    proofs.rows_sum_to_one,
    proofs.read_tokens,
    proofs.scores_hang_on_the_image,
    proofs.class_token_meets_patches,
)


def image(channels: int = 3, side: int = 32) -> Tensor:
    return torch.randn(channels, side, side, generator=torch.Generator().manual_seed(0))


def bad(fault: str) -> Any:
    torch.manual_seed(0)
    small = {"image_size": 32, "patch_size": 8, "dim": 24, "depth": 2, "heads": 2, "mlp_dim": 32}
    return build(parse_model({"name": "bad-vit", "fault": fault, **small})).eval()


def accused(found: Trace) -> list[str]:
    said = {prove.__name__: prove(found) for prove in ALL}
    return [name for name, proof in said.items() if proof is not None and not proof.holds]


class Own(nn.Module):
    """A ViT of one block whose parts a test may choose: how it shares attention, and what it does to pixels first."""

    def __init__(
        self,
        *,
        softmax: int = -1,
        scale: float = 1.0,
        before: Callable[[Tensor], Tensor] = lambda x: x,
        linear: bool = False,
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.softmax, self.scale, self.before = softmax, scale, before
        self.cut: nn.Module = nn.Linear(192, 48) if linear else nn.Conv2d(3, 48, 8, 8)
        self.token, self.table = nn.Parameter(torch.randn(1, 1, 48)), nn.Parameter(torch.randn(1, 17, 48))
        self.q, self.k, self.v, self.out = (nn.Linear(48, 48) for _ in range(4))
        self.norm, self.head = nn.LayerNorm(48), nn.Linear(48, 10)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.cut, nn.Linear):
            flat = x.unfold(2, 8, 8).unfold(3, 8, 8).permute(0, 2, 3, 1, 4, 5).reshape(len(x), 16, 192)
            patches: Tensor = self.cut(self.before(flat))
        else:
            patches = self.cut(self.before(x)).flatten(2).mT
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.table
        q, k, v = self.q(tokens), self.k(tokens), self.v(tokens)
        shares = torch.softmax(q @ k.mT / 48**0.5, dim=self.softmax) * self.scale
        tokens = tokens + self.out(shares @ v)
        scores: Tensor = self.head(self.norm(tokens)[:, 0])
        return scores


def test_all_hold_for_a_sound_model() -> None:
    found = trace(our_vit(), image())
    for prove in ALL:
        proof = prove(found)
        assert proof is not None
        assert proof.holds
        if proof.tolerance is not None:
            assert proof.error is not None
            assert 0 <= proof.error <= proof.tolerance
        assert set(proof.to_dict()) == {"text", "error", "tolerance", "holds"}


@pytest.mark.parametrize("linear", [False, True])
def test_an_embedding_is_its_weights_times_the_pixels(linear: bool) -> None:
    model = Own(linear=linear)
    found = trace(model, image())
    proof = proofs.embedding_is_linear(found)
    assert proof is not None
    assert proof.holds
    with torch.no_grad():
        model.cut.weight[3] += 0.01  # type: ignore[operator, index]  the tape holds the weights that the module has now
    proof = proofs.embedding_is_linear(found)
    assert proof is not None
    assert not proof.holds
    assert proof.error is not None
    assert proof.error > 1e-3


@pytest.mark.parametrize("linear", [False, True])
def test_an_embedding_of_pixels_that_were_normalised_before_is_not_judged(linear: bool) -> None:
    """As vit-pytorch's, whose patches pass a LayerNorm, and models that take 0 to 1 and normalise by themselves."""
    before = (lambda x: nn.functional.layer_norm(x, x.shape[-1:])) if linear else (lambda x: (x - 0.4) / 0.3)
    found = trace(Own(linear=linear, before=before), image())
    assert proofs.embedding_is_linear(found) is None
    assert accused(found) == []


def test_an_embedding_of_several_layers_or_of_one_patch_is_not_judged() -> None:
    tokenizer = trace(our_vit(patch_embedding="conv-tokenizer", tokenizer_layers=3), image())
    assert proofs.embedding_is_linear(tokenizer) is None


@pytest.mark.parametrize("part", ["with_class", "with_position"])
def test_what_should_be_learned_but_hangs_on_the_image_is_found(monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    prove = proofs.extra_tokens_ignore_the_image if part == "with_class" else proofs.position_ignores_the_image
    found = trace(our_vit(), image())
    place, plays = getattr(found.anatomy, part), found.tape.play
    sound = prove(found)
    assert sound is not None
    assert sound.holds

    def tampered(replaced: Any, call: Any) -> Tensor:
        """For another image, something else is put there."""
        given = plays(replaced, call)
        return given.flip(-1) if call is place else given

    monkeypatch.setattr(found.tape, "play", tampered)
    proof = prove(found)
    assert proof is not None
    assert not proof.holds


def test_rows_that_are_no_shares_are_found() -> None:
    for model in (Own(softmax=-2), Own(scale=2.0)):
        proof = proofs.rows_sum_to_one(trace(model, image()))
        assert not proof.holds
        assert "NOT" in proof.text.en
        assert proof.error is not None
        assert proof.tolerance is not None
        assert proof.error > proof.tolerance
    assert proofs.rows_sum_to_one(trace(Own(), image())).holds


@pytest.mark.parametrize(
    ("fault", "names"),
    [
        ("none", []),
        ("batch-mixing", ["scores_hang_on_the_image", "class_token_meets_patches"]),
        ("no-position", []),
        ("scrambled-patches", []),
        ("no-residual", []),
        ("post-norm", []),
        ("norm-unused", []),
        ("mlp-without-activation", []),
        ("softmax-head", []),
        ("double-dropout", []),
        ("cls-detached", []),  # forward it is sound: gradients are cut
    ],
)
def test_faults_that_one_image_shows(fault: str, names: list[str]) -> None:
    found = trace(bad(fault), image())
    assert accused(found) == names


class Blind(nn.Module):
    """The head's scores, less themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = our_vit()

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.inner(x)
        return scores - scores


def test_scores_that_ignore_the_image_are_found() -> None:
    found = trace(Blind().eval(), image())
    assert accused(found) == ["scores_hang_on_the_image"]


HONEST: dict[str, Callable[[], tuple[Any, Tensor]]] = {
    "start values, a head of zeros": lambda: (our_vit(stirred=False), image()),
    "mean pooling": lambda: (our_vit(pooling="mean"), image()),
    "mean pooling, start values": lambda: (our_vit(pooling="mean", stirred=False), image()),
    "registers": lambda: (our_vit(registers=3), image()),
    "grey": lambda: (our_vit(channels=1), image(channels=1)),
    "an image of one colour": lambda: (our_vit(), torch.full((3, 32, 32), 0.3)),
    "an image of zeros": lambda: (our_vit(), torch.zeros(3, 32, 32)),
    "an image that is its own mirror": lambda: (our_vit(), image() + image().flip(-2)),
    "one colour, patches normalised": lambda: (
        Own(linear=True, before=lambda x: nn.functional.layer_norm(x, x.shape[-1:])),
        torch.full((3, 32, 32), 0.3),
    ),
    "bfloat16": lambda: (our_vit().bfloat16(), image().bfloat16()),
    "bfloat16, an image near zero": lambda: (our_vit().bfloat16(), 0.01 * image().bfloat16()),
    "float16, a class token of zeros": lambda: (our_vit(stirred=False).half(), image().half()),
    "float64": lambda: (our_vit().double(), image().double()),
    "large weights": lambda: (_scaled(our_vit(), 5.0), image()),
    "tiny weights": lambda: (_scaled(our_vit(), 0.01), image()),
    "rotary": lambda: (our_vit(position="rotary"), image()),
    "norm behind": lambda: (our_vit(norm="post"), image()),
}


def _scaled(model: Any, factor: float) -> Any:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= factor
    return model


@pytest.mark.parametrize("make", HONEST.values(), ids=HONEST)
def test_no_honest_model_is_accused(make: Callable[[], tuple[Any, Tensor]]) -> None:
    model, pixels = make()
    found = trace(model, pixels)
    assert accused(found) == []
    for prove in ALL:
        proof = prove(found)
        if proof is not None and proof.tolerance is not None:
            assert proof.error is not None
            assert proof.error <= proof.tolerance, prove.__name__


def test_zero_heads_are_told_from_scores_that_ignore_the_image() -> None:
    zero = our_vit()
    nn.init.zeros_(zero.head.weight)
    proof = proofs.scores_hang_on_the_image(trace(zero, image()))
    assert proof.holds
    assert "as it may before training" in proof.text.en


def test_read_tokens_are_named() -> None:
    one = proofs.read_tokens(trace(our_vit(), image()))
    many = proofs.read_tokens(trace(our_vit(pooling="mean", registers=2), image()))
    assert one is not None
    assert many is not None
    assert "on 1 of them (number 0)" in one.text.en
    assert "on 16 of them (number 2, 3, 4, 5 …)" in many.text.en
    assert TINY["patch_size"] == 8
    assert proofs.read_tokens(trace(bad("no-residual"), image())) is None
