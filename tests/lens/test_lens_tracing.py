"""The `with` block: whatever way the model is called there, one forward is caught, and nothing stays behind."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from lens_samples import FAMILIES, tiny_image
from test_lens_trace import Raising, our_vit, unchanged
from torch import Tensor, nn

import vitscope
from vitscope._core.errors import LensError
from vitscope.lens.tape import record
from vitscope.lens.trace import trace


class Masked(nn.Module):
    """Takes a mask behind the image, and gives an image size back."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = our_vit()

    def forward(self, pixels: Tensor, mask: Tensor) -> tuple[Tensor, tuple[int, ...]]:
        return self.inner(pixels * mask), tuple(pixels.shape)


def test_it_is_what_trace_gives_and_the_scores_are_the_models_own() -> None:
    model = our_vit(dropout=0.5).train()
    with unchanged(model), vitscope.tracing(model) as traced:
        assert not model.training
        scores = model(tiny_image())
        assert torch.equal(traced.trace["logits"], scores[0])
        loss = scores.sum()  # what is done behind the forward is the user's
    assert not loss.requires_grad
    whole = trace(model, tiny_image())
    assert list(traced.trace) == list(whole)
    assert all(torch.equal(traced.trace[name], whole[name]) for name in whole)


@pytest.mark.parametrize(
    "call",
    [
        lambda model, image: model(image, torch.ones(1, 1, 1, 1)),
        lambda model, image: model(mask=torch.ones(32, 32), pixels=image),
        lambda model, image: model(image, mask=torch.ones(32)),
        lambda model, image: model(mask=torch.ones(1, 3, 32, 32), pixels=image),
    ],
    ids=["by position", "by keyword", "both", "a mask like an image, named first"],
)
def test_the_model_is_called_as_its_user_calls_it(call: Any) -> None:
    model, image = Masked(), tiny_image()
    with vitscope.tracing(model) as traced:
        _, shape = call(model, image)
    assert shape == image.shape
    assert torch.equal(traced.trace["image"], image[0])
    assert torch.equal(traced.trace["logits"], trace(model.inner, image)["logits"])


def test_what_else_runs_in_the_block_is_not_the_models_forward() -> None:
    model = our_vit()
    with vitscope.tracing(model) as traced:
        model.patch_embedding(tiny_image(1))
        our_vit()(tiny_image(1))
        model(tiny_image())
        model.head(torch.ones(1, 48))
    assert torch.equal(traced.trace["block01/attention"], trace(model, tiny_image())["block01/attention"])
    assert [block.path for block in traced.trace.anatomy.blocks] == ["blocks.0", "blocks.1"]


def test_no_forward_is_said_at_the_end_of_the_block() -> None:
    model = our_vit().train()
    with unchanged(model), pytest.raises(LensError, match="did not run in the block; call it once there"):  # noqa: SIM117, PT012
        with vitscope.tracing(model) as traced:
            with pytest.raises(LensError, match="no trace yet"):
                traced.trace  # noqa: B018
            model.forward(tiny_image())


def test_a_second_forward_is_refused_where_it_is_made() -> None:
    model, reached = our_vit(), []
    with unchanged(model), pytest.raises(LensError, match="a second time"), vitscope.tracing(model):  # noqa: PT012
        model(tiny_image())
        reached.append(1)
        model(tiny_image())
        reached.append(2)
    assert reached == [1]


def test_a_model_that_calls_itself_runs_once() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = our_vit()

        def forward(self, x: Tensor, *, again: bool = True) -> Tensor:
            return self(x, again=False) if again else self.inner(x)

    model = Twice()
    assert torch.equal(trace(model, tiny_image())["logits"], trace(model.inner, tiny_image())["logits"])


@pytest.mark.parametrize("given", [torch.zeros(2, 3, 32, 32), torch.zeros(3, 32, 32), None])
def test_one_image_at_a_time(given: Tensor | None) -> None:
    model = our_vit()
    with unchanged(model), pytest.raises(LensError, match=r"of one image, 1 C H W; the model was given (\(|none)"):  # noqa: SIM117
        with vitscope.tracing(model):
            model(given)


def test_what_the_model_raises_passes_through() -> None:
    model = Raising().train()
    with unchanged(model), pytest.raises(ValueError, match="on purpose"), vitscope.tracing(model):
        model(tiny_image())


@pytest.mark.parametrize("fault", [KeyError("mine"), KeyboardInterrupt()])
def test_what_the_block_raises_passes_through(fault: BaseException) -> None:
    model = our_vit().train()
    with unchanged(model), pytest.raises(type(fault)), vitscope.tracing(model):
        raise fault


def test_a_forward_that_is_stopped_by_hand_leaves_nothing_behind() -> None:
    """torch calls no hooks behind a Ctrl-C, and the block's own gradient mode ends before ours."""

    class Stopped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = our_vit()

        def forward(self, x: Tensor) -> Tensor:
            self.inner(x)
            raise KeyboardInterrupt

    model = Stopped()
    with unchanged(model), pytest.raises(KeyboardInterrupt), vitscope.tracing(model), torch.no_grad():
        model(tiny_image())
    assert (torch.ones(1) + 1).requires_grad is False
    assert torch.ones(1, requires_grad=True).sum().requires_grad


def test_a_forward_that_fails_and_is_caught_is_said() -> None:
    model = Raising()
    with pytest.raises(LensError, match="gave nothing back in the block"), vitscope.tracing(model):  # noqa: SIM117
        with pytest.raises(ValueError, match="on purpose"):
            model(tiny_image())


def test_a_refusal_leaves_nothing_behind() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).train()
    with unchanged(model), pytest.raises(LensError, match="there is no attention"), vitscope.tracing(model):
        model(tiny_image())


def test_a_compiled_model_is_run_as_it_was_written() -> None:
    model = FAMILIES["vitscope"].build()
    usual = trace(model, tiny_image())
    model.compile()
    found = trace(model, tiny_image())
    assert torch.equal(found["block01/attention"], usual["block01/attention"])


class Chosen(nn.Module):
    """Keeps the tokens that are bright enough: how many, hangs on the numbers."""

    def forward(self, x: Tensor) -> Tensor:
        kept = x.flatten()[x.flatten() > 0]
        return kept.view(2, 2) @ torch.ones(2, 1)


def test_shapes_that_hang_on_the_numbers_are_told_of_when_it_is_played_again() -> None:
    image = torch.tensor([[1.0, 2.0, -1.0], [-1.0, 3.0, 4.0]])
    with record(Chosen(), image) as tape:
        Chosen()(image)
    end = tape.calls[-1]
    assert tape.play({None: image * 2}, end).flatten().tolist() == [6.0, 14.0]
    with pytest.raises(
        LensError, match=r"cannot be computed again with other numbers: .* says .*shapes in it may hang"
    ) as told:
        tape.play({None: -image}, end)
    assert "テンソルの形が値によって変わる可能性があります" in told.value.text.ja
