"""What users will hand in that is no ViT, or that fails: each gives a trace, or one sentence that says what to do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lens_samples import FAMILIES, tiny_image
from test_lens_attacks import Written, plain_core
from test_lens_trace import our_vit
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from vitscope._core.errors import LensError
from vitscope.bench.torchvision_names import make_torchvision_importable
from vitscope.lens.trace import trace, tracing

LOCAL = [name for name, family in FAMILIES.items() if family.needs is None]


def refusal_of(model: nn.Module, image: Tensor | None = None) -> LensError:
    with pytest.raises(LensError) as refusal:
        trace(model, tiny_image() if image is None else image)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 400
    return refusal.value


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.norm(self.b(torch.relu(self.a(x)))))


def resnet() -> nn.Module:
    stem = [nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*stem, Residual(), Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def test_a_cnn_is_told_apart() -> None:
    assert "there is no attention in this model" in str(refusal_of(resnet()))


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_swin_is_told_that_it_has_windows(library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed; the extra 'bench' has it")
    make_torchvision_importable()
    if library == "timm":
        words = {"img_size": 64, "patch_size": 2, "window_size": 4, "embed_dim": 24, "depths": (2, 2), "num_heads": (2, 4)}  # fmt: skip
        model = import_module("timm.models.swin_transformer").SwinTransformer(num_classes=10, **words)
    else:
        words = {"patch_size": [2, 2], "window_size": [4, 4], "embed_dim": 24, "depths": [2, 2], "num_heads": [2, 4]}
        model = import_module("torchvision.models").SwinTransformer(num_classes=10, **words)
    assert "windows, or fewer queries than tokens" in str(refusal_of(model, torch.randn(1, 3, 64, 64)))


class Answering(Written):
    def __init__(self, answer: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x: Tensor) -> Any:
        return self.answer(super().forward(x))


def model_output(scores: Tensor) -> Any:
    return import_module("transformers.modeling_outputs").ImageClassifierOutput(logits=scores)


@pytest.mark.parametrize(
    "answer",
    [
        lambda y: (y, None),
        lambda y: [None, y],
        lambda y: {"loss": None, "logits": y},
        lambda y: type("Output", (), {"logits": y, "hidden_states": ()})(),
        lambda y: (y[:, None].expand(1, 3, 10), y),
        pytest.param(
            model_output, marks=pytest.mark.skipif(find_spec("transformers") is None, reason="no transformers")
        ),
    ],
    ids=["tuple", "list", "dict", "object", "features and scores", "ModelOutput"],
)
def test_scores_are_found_in_what_models_give_back(answer: Callable[[Tensor], Any]) -> None:
    assert torch.equal(trace(Answering(answer), tiny_image())["logits"], trace(Written(), tiny_image())["logits"])


class Masked(Written):
    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return super().forward(x * mask)


def test_a_model_that_needs_more_is_told_of_the_block() -> None:
    refusal = refusal_of(Masked())
    assert "takes more than an image (missing a required argument: 'mask')" in str(refusal)
    assert "with vitscope.tracing(model) as traced" in str(refusal)
    assert isinstance(refusal.__cause__, TypeError)
    model = Masked()
    with tracing(model) as traced:
        model(tiny_image(), torch.ones(1))
    assert "logits" in traced.trace


class Faulty(Written):
    def __init__(self, fault: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.fault = fault

    def forward(self, x: Tensor) -> Tensor:
        self.fault(x)
        return super().forward(x)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (lambda x: x + None, TypeError),
        (lambda x: {}["missing"], KeyError),
        (lambda x: x @ torch.ones(7, 7), RuntimeError),
        (lambda x: x.no_such_thing, AttributeError),
        (lambda x: (_ for _ in ()).throw(StopIteration), RuntimeError),
        (lambda x: (_ for _ in ()).throw(ValueError("first line\nsecond line")), ValueError),
    ],
    ids=["type", "key", "shape", "attribute", "stop", "two lines"],
)
def test_a_models_own_fault_is_named_and_kept_as_the_cause(fault: Callable[[Tensor], Any], kind: type) -> None:
    refusal = refusal_of(Faulty(fault))
    assert f"the model itself fails on this image, (1, 3, 32, 32), with {kind.__name__}: " in str(refusal)
    assert isinstance(refusal.__cause__, kind)


def test_an_image_of_another_size_is_the_models_own_sentence() -> None:
    assert "fails on this image, (1, 3, 40, 40), with RuntimeError" in str(refusal_of(Written(), torch.zeros(1, 3, 40, 40)))  # fmt: skip
    assert "fails on this image, (1, 1, 32, 32), with RuntimeError" in str(refusal_of(Written(), torch.zeros(1, 1, 32, 32)))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64, torch.uint8])
def test_model_and_image_of_different_dtype_are_told_so(dtype: torch.dtype) -> None:
    said = str(refusal_of(Written(), torch.zeros(1, 3, 32, 32).to(dtype)))
    assert said == f"the image is {dtype} and the model's weights are torch.float32; make them the same (image.to, model.to) first"  # fmt: skip


def test_a_model_that_casts_its_image_takes_any() -> None:
    class Casting(Written):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.to(self.place.dtype))

    found = trace(Casting().to(torch.bfloat16), tiny_image())
    assert found["image"].dtype == torch.float32
    assert found["logits"].dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", LOCAL)
def test_half_precision_is_proved_within_its_rounding(name: str, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    found = trace(FAMILIES[name].build().to(dtype), tiny_image().to(dtype))
    assert found.worst_error <= max(attention.tolerance for attention in found.attentions)
    assert found.worst_error < (3e-2 if dtype == torch.bfloat16 else 4e-3)
    assert len(found.reads) == FAMILIES[name].reads


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("core", [plain_core, F.scaled_dot_product_attention], ids=["explicit", "fused"])
def test_large_scores_are_proved_in_any_precision(core: Any, dtype: torch.dtype) -> None:
    """Scores of a hundred, as trained models have them, are rounded by up to a half in bf16: the softmax is the rounded scores' own."""
    model = Written(core=core)
    for block in model.blocks:
        block.qkv.weight.data[:96] *= 10
    found = trace(model.to(dtype), tiny_image().to(dtype))
    q, k = found["block00/q"].double(), found["block00/k"].double()
    assert (q @ k.mT).abs().max() > 100
    assert found.worst_error <= found.attentions[0].tolerance


def test_names_of_queries_and_keys_do_not_hang_on_the_size_of_scores() -> None:
    model = Written(core=lambda q, k, v: (1000 * k @ q.mT).softmax(dim=-2).mT @ v)
    usual = trace(Written(), tiny_image())
    ratio = trace(model, tiny_image())["block00/q"] / usual["block00/q"]
    assert torch.allclose(ratio, ratio.mean().expand_as(ratio), rtol=1e-3)


@pytest.mark.parametrize("cast", [torch.bfloat16, torch.float16])
def test_a_block_under_autocast_is_proved_within_its_rounding(cast: torch.dtype) -> None:
    model = Written()
    with torch.autocast("cpu", dtype=cast), tracing(model) as traced:
        scores = model(tiny_image())
    assert torch.equal(traced.trace["logits"], scores[0])
    assert traced.trace["logits"].dtype == cast
    assert traced.trace.reads == (0,)


def test_torchs_flash_attention_is_proved() -> None:
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found = trace(Written(core=F.scaled_dot_product_attention), tiny_image())
    assert all(attention.is_fused and attention.begins.name.startswith("_scaled") for attention in found.attentions)
    assert found.worst_error < 1e-5


@torch.library.custom_op("vitscope_tests::flash_attn_forward", mutates_args=())
def foreign_flash(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return plain_core(q, k, v)


@torch.library.custom_op("vitscope_tests::mix", mutates_args=())
def foreign_mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return plain_core(q, k, v)


def test_a_flash_attention_of_somebodys_own_is_refused_by_name() -> None:
    said = str(refusal_of(Written(core=foreign_flash)))
    assert "vitscope_tests.flash_attn_forward" in said
    assert "choose torch's own" in said


def test_an_attention_that_does_not_say_that_it_is_one_is_no_vit() -> None:
    assert "no attention in this model" in str(refusal_of(Written(core=foreign_mix)))


NANS: dict[str, tuple[Callable[[Any], Tensor], str]] = {
    "embedding": (lambda model: model.conv.weight, "a parameter of conv holds NaN"),
    "position": (lambda model: model.place, "a parameter of the model holds NaN"),
    "query": (lambda model: model.blocks[1].qkv.weight, "a parameter of blocks.1.qkv holds NaN"),
    "mlp": (lambda model: model.blocks[1].mlp[2].bias, "a parameter of blocks.1.mlp.2 holds NaN"),
    "head": (lambda model: model.head.weight, "what the model gives is NaN, since a parameter of head holds NaN"),
}


@pytest.mark.parametrize("name", NANS)
@pytest.mark.parametrize("core", [plain_core, F.scaled_dot_product_attention], ids=["explicit", "fused"])
def test_weights_that_are_nan_are_named(name: str, core: Any) -> None:
    model = Written(core=core)
    where, words = NANS[name]
    where(model).data.view(-1)[3] = torch.nan
    said = str(refusal_of(model))
    assert words in said
    assert "mend that first" in said


def test_an_image_that_is_nan_is_named() -> None:
    image = tiny_image()
    image[0, 0, 3, 3] = torch.nan
    assert "since the image holds NaN" in str(refusal_of(Written(), image))


def test_what_overflows_half_precision_is_told_to_be_float32() -> None:
    model = copy.deepcopy(Written())
    model.blocks[0].mlp[2].bias.data.fill_(60000)
    model.blocks[1].mlp[2].bias.data.fill_(60000)
    said = str(refusal_of(model.to(torch.float16), tiny_image().to(torch.float16)))
    assert "is NaN or infinite" in said
    assert "give model and image as float32 instead of torch.float16" in said


def test_ours_fails_in_its_own_words() -> None:
    with pytest.raises(Exception, match="image") as refusal:
        trace(our_vit(), torch.zeros(1, 3, 40, 40))
    assert "\n" not in str(refusal.value)
