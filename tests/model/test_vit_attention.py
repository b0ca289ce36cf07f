"""Attention on its two paths, positions against formulas of their own, and the quick dropout."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_vits import SPECIMEN, images_for, tiny, tiny_spec
from torch import Tensor, nn

from vitscope._core.errors import ModelError
from vitscope.model.attention import attend, attention_map, explicit_attention, fused_attention, set_attention_path
from vitscope.model.create import build
from vitscope.model.dropout import Dropout
from vitscope.model.position import Rotary, resize_table, sincos_2d
from vitscope.model.spec import ViTSpec
from vitscope.model.specimens.spec import GoodViTSpec


def qkv(dtype: torch.dtype, tokens: int = 9) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(2, 3, tokens, 8, generator=generator).to(dtype).requires_grad_() for _ in range(3)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 4e-2)], ids=str
)
def test_fused_and_explicit_attention_are_one_function_forward_and_backward(
    dtype: torch.dtype, tolerance: float
) -> None:
    results = []
    for function in (fused_attention, explicit_attention):
        given = qkv(dtype)
        out = function(*given)
        (out.float() * torch.arange(8.0)).sum().backward()
        results.append([out, *(t.grad for t in given)])
    for fused, explicit in zip(*results, strict=True):
        assert torch.allclose(fused, explicit, atol=tolerance * max(1.0, explicit.abs().max().item()))


def test_explicit_attention_is_the_formula() -> None:
    q, k, v = qkv(torch.float64)
    weights = torch.einsum("bkte,bkse->bkts", q, k).div(math.sqrt(8)).exp()
    weights = weights / weights.sum(dim=-1, keepdim=True)
    assert torch.allclose(attention_map(q, k), weights, atol=1e-12)
    assert torch.allclose(attend(q, k, v), torch.einsum("bkts,bkse->bkte", weights, v), atol=1e-12)


def test_a_path_set_on_a_model_is_taken_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    for name in ("fused", "explicit"):
        real = {"fused": fused_attention, "explicit": explicit_attention}[name]
        monkeypatch.setattr(
            f"vitscope.model.attention.{name}_attention", lambda q, k, v, n=name, f=real: taken.append(n) or f(q, k, v)
        )
    model = tiny()
    outputs = []
    for path in ("fused", "explicit", "auto"):
        set_attention_path(model, path)
        outputs.append(model(images_for(model.spec)))
    assert taken == [
        "fused",
        "fused",
        "explicit",
        "explicit",
        "explicit",
        "explicit",
    ]  # two blocks; auto on a CPU, 13 tokens
    assert torch.allclose(outputs[0], outputs[1], atol=1e-10)
    assert torch.equal(outputs[1], outputs[2])


def test_auto_takes_the_fused_kernel_for_long_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitscope.model.paths.EXPLICIT_TOKENS_ON_CPU", 8)
    monkeypatch.setattr("vitscope.model.attention.explicit_attention", lambda *_: pytest.fail("explicit path taken"))
    attend(*qkv(torch.float32, tokens=9))


def test_auto_takes_the_explicit_path_further_in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    for name in ("fused", "explicit"):
        monkeypatch.setattr(
            f"vitscope.model.attention.{name}_attention", lambda q, *_, n=name: taken.append((n, q.shape[-2])) or q
        )
    monkeypatch.setattr("vitscope.model.paths.EXPLICIT_TOKENS_ON_CPU", 8)
    monkeypatch.setattr("vitscope.model.paths.EXPLICIT_TOKENS_ON_CPU_BF16", 16)
    for dtype, tokens in ((torch.float32, 8), (torch.float32, 9), (torch.bfloat16, 16), (torch.bfloat16, 17)):
        attend(*qkv(dtype, tokens=tokens))
    assert taken == [("explicit", 8), ("fused", 9), ("explicit", 16), ("fused", 17)]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("flsah", r"no attention path 'flsah' \(did you mean 'fused'\?\); there are: auto, fused, explicit"),
        ("explict", r"did you mean 'explicit'\?"),
    ],
)
def test_a_path_that_does_not_exist_is_refused(path: str, message: str) -> None:
    model = tiny()
    with pytest.raises(ModelError, match=message):
        set_attention_path(model, path)
    assert {block.attention.attention_path for block in model.blocks} == {"auto"}


@pytest.mark.parametrize("model", [build(GoodViTSpec(**SPECIMEN)), nn.Linear(2, 2)], ids=["good-vit", "Linear"])
def test_a_path_is_refused_where_no_attention_has_two(model: nn.Module) -> None:
    with pytest.raises(ModelError, match=f"{type(model).__name__} has no attention with a path to choose"):
        set_attention_path(model, "fused")


def test_sincos_against_a_formula_of_its_own() -> None:
    rows, columns, dim = 3, 5, 16
    table = sincos_2d(rows, columns, dim=dim)
    for n in range(rows * columns):
        row, column = divmod(n, columns)
        omega = [1 / 10_000 ** (i / 4) for i in range(4)]
        expected = [f(place * w) for place in (column, row) for f in (np.sin, np.cos) for w in omega]
        assert np.allclose(table[n].numpy(), expected, atol=1e-6)


def test_rotary_turns_each_pair_by_the_angle_of_its_row_or_column() -> None:
    spec = tiny_spec(
        image_size=(10, 16), heads=1, position="rotary"
    )  # 5 by 4 patches, heads of 16: four frequencies each
    x = torch.randn(1, 1, spec.tokens, 16, dtype=torch.float64)
    turned = Rotary(spec)(x)[0, 0, 1:]
    for n in range(spec.patches):
        row, column = divmod(n, spec.grid[1])
        angles = [place / 100 ** (i / 4) for place in (row, column) for i in range(4)]
        for pair, angle in enumerate(angles):
            a, b = x[0, 0, 1 + n, 2 * pair : 2 * pair + 2].tolist()
            expected = [a * math.cos(angle) - b * math.sin(angle), a * math.sin(angle) + b * math.cos(angle)]
            assert turned[n, 2 * pair : 2 * pair + 2].tolist() == pytest.approx(expected, abs=1e-6), (n, pair)


def test_a_cast_model_turns_by_the_same_angles() -> None:
    spec = ViTSpec(image_size=256, patch_size=4, dim=64, heads=1, position="rotary")  # rows and columns up to 63
    x = torch.randn(1, 1, spec.tokens, 64).bfloat16()
    exact = Rotary(spec)(x.float())
    for cast in (torch.bfloat16, torch.float16, torch.float64):
        rotary = Rotary(spec).to(cast)
        assert rotary.cos.dtype == rotary.sin.dtype == torch.float32
        assert torch.equal(rotary.cos, Rotary(spec).cos)
        assert rotary(x).dtype == torch.bfloat16
        assert torch.equal(rotary(x), exact.bfloat16())  # rounded once, at the end


def test_rotary_scores_depend_on_the_offset_only() -> None:
    spec = tiny_spec(image_size=(10, 16), position="rotary")  # 5 by 4 patches
    rotary = Rotary(spec).double()
    rows, columns = spec.grid
    q, k = torch.randn(2, 8, dtype=torch.float64)
    everywhere = [rotary(t.expand(1, 1, spec.tokens, 8).contiguous())[0, 0, 1:] for t in (q, k)]
    scores = everywhere[0] @ everywhere[1].T
    by_offset: dict[tuple[int, int], list[float]] = {}
    for i in range(rows * columns):
        for j in range(rows * columns):
            offset = (i // columns - j // columns, i % columns - j % columns)
            by_offset.setdefault(offset, []).append(scores[i, j].item())
    assert len(by_offset) == (2 * rows - 1) * (2 * columns - 1)
    assert max(max(s) - min(s) for s in by_offset.values()) < 1e-6
    assert np.std([s[0] for s in by_offset.values()]) > 0.05


def test_rotary_leaves_lengths_and_prefix_tokens_alone() -> None:
    spec = tiny_spec(position="rotary", registers=2)
    x = torch.randn(2, 2, spec.tokens, 8)
    turned = Rotary(spec)(x)
    assert torch.allclose(turned.norm(dim=-1), x.norm(dim=-1), atol=1e-5)
    assert torch.equal(turned[:, :, :3], x[:, :, :3])
    assert torch.equal(turned[:, :, 3], x[:, :, 3])  # the patch at row 0, column 0
    assert not torch.allclose(turned[:, :, 4:], x[:, :, 4:])


def test_a_resized_table_of_a_ramp_stays_a_ramp() -> None:
    ramp = (torch.arange(8.0)[:, None] + 10 * torch.arange(8.0)[None]).reshape(1, 64, 1)
    table = torch.cat([torch.full((1, 1, 1), 99.0), ramp], dim=1)
    grown = resize_table(table, (8, 8), (16, 16))
    assert grown[0, 0].item() == 99.0
    inside = grown[0, 1:, 0].view(16, 16)[4:-4, 4:-4]
    assert torch.allclose(inside.diff(dim=0), torch.full((7, 8), 0.5), atol=1e-3)
    assert torch.allclose(inside.diff(dim=1), torch.full((8, 7), 5.0), atol=1e-3)


@pytest.mark.parametrize("new", [(16, 10), (3, 4), (5, 9)])
def test_a_table_is_resized_by_pillows_bicubic_filter(new: tuple[int, int]) -> None:
    grid = torch.randn(8, 6, generator=torch.Generator().manual_seed(0))
    expected = Image.fromarray(grid.numpy()).resize(new[::-1], Image.Resampling.BICUBIC)
    ours = resize_table(grid.view(1, 48, 1), (8, 6), new).view(new)
    assert np.allclose(ours.numpy(), np.asarray(expected), atol=1e-5)


def test_resizing_to_the_same_grid_changes_nothing() -> None:
    table = torch.randn(1, 13, 16)
    assert torch.equal(resize_table(table, (4, 3), (4, 3)), table)


def test_quick_dropout_has_the_law_of_dropout() -> None:
    torch.manual_seed(0)
    x = torch.ones(400_000, dtype=torch.float64).requires_grad_()
    drop = Dropout(0.1)
    out = drop(x)
    dropped = (out == 0).double()
    assert dropped.mean().item() == pytest.approx(0.1, abs=0.003)
    assert out.mean().item() == pytest.approx(1.0, abs=0.004)
    for lane in range(4):  # the four 16-bit numbers of one word
        assert dropped[lane::4].mean().item() == pytest.approx(0.1, abs=0.005)
    neighbours = torch.corrcoef(torch.stack([dropped[:-1], dropped[1:]]))[0, 1].item()
    assert abs(neighbours) < 0.01
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())
    assert out.max().item() == pytest.approx(1 / 0.9, abs=1e-4)


@pytest.mark.parametrize("p", [0.1, 0.3])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_quick_dropout_keeps_the_mean_in_every_precision(dtype: torch.dtype, p: float) -> None:
    x = torch.rand(400_000, generator=torch.Generator().manual_seed(0)).add_(1).to(dtype)
    out = Dropout(p)(x)
    kept = out != 0
    factor = (out[kept].double() / x[kept].double()).mean().item()
    assert out.dtype == dtype
    mean = factor * (1 - round(p * 2**16) / 2**16)
    assert mean == pytest.approx(1.0, abs=2e-4)  # elements are rounded either way; a rounded scale would give 0.9984


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_quick_dropout_keeps_a_mask_of_its_inputs_dtype_and_nothing_else(dtype: torch.dtype) -> None:
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        Dropout(0.1)(torch.randn(8, 5, dtype=dtype).requires_grad_())
    (mask,) = kept
    assert (mask.dtype, mask.shape) == (dtype, (8, 5))


def test_quick_dropout_is_off_in_evaluation_repeats_with_the_seed_and_prints_as_torchs() -> None:
    x = torch.randn(3, 5, 7).transpose(0, 2)
    drop = Dropout(0.3)
    torch.manual_seed(1)
    first = drop(x)
    torch.manual_seed(1)
    assert torch.equal(first, drop(x))
    assert first.shape == x.shape
    assert drop(x.bfloat16()).dtype == torch.bfloat16
    assert torch.equal(drop.eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert not Dropout(1.0)(x).any()
    assert repr(Dropout(0.3)) == repr(nn.Dropout(0.3))
    assert Dropout(0.3)(torch.zeros(0, 4)).shape == (0, 4)
