"""Mends of models that give their scores in a container, that squeeze them in one mode only, that are wrapped, or that no mend fits."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vitscope._core.errors import Interrupted, ModelError
from vitscope._core.text import Text
from vitscope.doctor.examine import diagnose
from vitscope.doctor.finding import Finding
from vitscope.doctor.patient import scores_of
from vitscope.model.create import build
from vitscope.model.specimens.spec import BadViTFault, BadViTSpec
from vitscope.race.ends import with_scores
from vitscope.race.repair import Mended, mended, tried

pytestmark = pytest.mark.e2e  # whole races

IMAGES = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
TINY = {"dim": 16, "depth": 2, "heads": 2, "mlp_dim": 32, "image_size": (8, 8), "patch_size": (4, 4)}
Named = namedtuple("Named", ["scores", "aside"])


def bad(fault: BadViTFault) -> nn.Module:
    torch.manual_seed(0)
    return build(BadViTSpec.parse({**TINY, "fault": fault}))


class Around(nn.Module):
    """A model with something done to what another gives."""

    def __init__(self, inner: nn.Module, wrap: Callable[[nn.Module, Tensor], Any]) -> None:
        super().__init__()
        self.inner = inner
        self.wrap = wrap

    def forward(self, x: Tensor) -> Any:
        return self.wrap(self, self.inner(x))


def found_in(model: nn.Module, check: str) -> Finding:
    return diagnose(model, image_size=8, checks=[check]).causes[0]


CONTAINERS: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "tuple": lambda model, y: (y, y.mean()),
    "list": lambda model, y: [y.mean(), y],
    "named tuple": lambda model, y: Named(y, 0),
    "dict": lambda model, y: {"aside": 1, "logits": y},
    "object": lambda model, y: SimpleNamespace(logits=y),
}


@pytest.mark.parametrize("wrap", CONTAINERS.values(), ids=CONTAINERS)
@pytest.mark.parametrize(("fault", "check"), [("batch-mixing", "input-blindness"), ("softmax-head", "output")])
def test_scores_in_a_container_are_mended_there(
    fault: BadViTFault, check: str, wrap: Callable[[nn.Module, Tensor], Any]
) -> None:
    model = Around(bad(fault), wrap)
    done = mended(model, found_in(model, check), IMAGES)
    plain = mended(bad(fault), found_in(bad(fault), check), IMAGES)
    assert done is not None
    assert plain is not None
    answer = done.model.eval()(IMAGES)
    assert type(answer) is type(model(IMAGES))
    assert torch.allclose(scores_of(answer, 4), plain.model.eval()(IMAGES), atol=1e-6)


class Output(OrderedDict[str, Any]):
    """As transformers' ModelOutput: a mapping whose items are attributes too."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self["logits"] = logits

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, value)
        super().__setattr__(key, value)


def test_outputs_like_those_of_transformers_are_mended() -> None:
    model = Around(bad("softmax-head"), lambda model, y: Output(y))
    done = mended(model, found_in(model, "output"), IMAGES)
    assert done is not None
    answer = done.model(IMAGES)
    assert answer.logits is answer["logits"]
    assert bool((answer.logits < 0).any())


def test_scores_that_cannot_be_replaced() -> None:
    with pytest.raises(ModelError, match="cannot be replaced in the set"):
        with_scores({1}, IMAGES, IMAGES)


@pytest.mark.parametrize(
    "squeeze",
    [lambda model, y: y if model.training else y.softmax(-1), lambda model, y: y if model.training else y.sigmoid()],
    ids=["softmax", "sigmoid"],
)
def test_what_shows_in_evaluation_only_is_no_cause(squeeze: Callable[[nn.Module, Tensor], Tensor]) -> None:
    model = Around(bad("none"), squeeze)
    why = tried(model, found_in(model, "output"), IMAGES)
    assert isinstance(why, Text)
    assert why.en == "the fault shows in evaluation only, so a training would not differ"
    assert mended(model, found_in(model, "output"), IMAGES) is None


def test_a_softmax_of_both_modes_is_undone_in_both() -> None:
    inner = bad("none")
    model = Around(inner, lambda model, y: y.softmax(-1))
    done = mended(model, found_in(model, "output"), IMAGES)
    assert done is not None
    for is_training in (True, False):
        torch.manual_seed(0)  # there is dropout
        scores = done.model.train(is_training)(IMAGES)
        torch.manual_seed(0)
        raw = inner.train(is_training)(IMAGES)
        assert torch.allclose(scores, raw.log_softmax(-1), atol=1e-5)


def test_a_module_at_the_end_that_only_evaluation_uses_is_refused() -> None:
    class Ends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.end = bad("none"), nn.Softmax(-1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            return y if self.training else self.end(y)

    assert mended(Ends(), found_in(Ends(), "output"), IMAGES) is None


def test_a_compiled_model_is_mended_as_the_model_that_it_is() -> None:
    model = torch.compile(bad("batch-mixing"), backend="eager")
    done = mended(model, found_in(bad("batch-mixing"), "input-blindness"), IMAGES)  # type: ignore[arg-type]
    assert done is not None
    assert not any("_orig_mod" in name for name, _ in done.model.named_parameters())


class Shared(nn.Module):
    """A ViT whose one block runs several times, and whose position table is never added."""

    def __init__(self, uses: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.place = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.randn(1, 4, 32) * 0.02)
        layer = nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)
        others = [nn.TransformerEncoderLayer(32, 2, 64, 0.0, "gelu", batch_first=True, norm_first=True)]
        self.blocks = nn.ModuleList([layer] * uses if uses > 1 else [layer, *others])
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks_of(self.patches(x).flatten(2).transpose(1, 2)).mean(1))

    def blocks_of(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def test_a_table_is_added_once_or_not_at_all() -> None:
    shared, plain = Shared(4), Shared(1)
    why = tried(shared, found_in(shared, "position"), IMAGES)
    assert isinstance(why, Text)
    assert why.en.startswith("the first block is used 4 times in a forward")
    done = mended(plain, found_in(plain, "position"), IMAGES)
    assert done is not None
    plain.eval()
    tokens = plain.patches(IMAGES).flatten(2).transpose(1, 2) + plain.place
    assert torch.allclose(done.model.eval()(IMAGES), plain.head(plain.blocks_of(tokens).mean(1)), atol=1e-5)


def test_why_a_mend_does_not_do() -> None:
    finding = found_in(bad("batch-mixing"), "input-blindness")
    nowhere = tried(nn.Sequential(nn.Flatten(), nn.Linear(192, 10)), finding, IMAGES)
    assert nowhere == Text("the place to change was not found", "修正すべき箇所が見つかりませんでした")

    def fail(model: nn.Module, y: Tensor) -> Tensor:
        raise AssertionError("not here")

    around = Around(bad("batch-mixing"), lambda model, y: y)
    finding = found_in(around, "input-blindness")
    broken = tried(Around(bad("batch-mixing"), fail), finding, IMAGES)
    assert isinstance(broken, Text)
    assert broken.en == "the mended copy does not run (AssertionError: not here)"

    def stop(model: nn.Module, y: Tensor) -> Tensor:
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        tried(Around(bad("batch-mixing"), stop), finding, IMAGES)


def test_a_mend_that_does_is_one() -> None:
    assert isinstance(tried(bad("batch-mixing"), found_in(bad("batch-mixing"), "input-blindness"), IMAGES), Mended)
