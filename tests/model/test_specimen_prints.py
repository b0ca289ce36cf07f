"""What the two specimens print, text to text; the fault of the second never shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitscope.model.create import create_model
from vitscope.model.presets import FAULTS

SPEC = Path(__file__).parents[2].parent / "shared" / "spec"

GOOD = """\
ViT(
  (to_patch_embedding): Sequential(
    (0): Rearrange('b c (h p1) (w p2) -> b (h w) (p1 p2 c)', p1=4, p2=4)
    (1): Linear(in_features=48, out_features=192, bias=True)
  )
  (dropout): Dropout(p=0.1, inplace=False)
  (transformer): Transformer(
    (layers): ModuleList(
      (0-5): 6 x ModuleList(
        (0): PreNorm(
          (norm): LayerNorm((192,), eps=1e-05, elementwise_affine=True)
          (fn): Attention(
            (attend): Softmax(dim=-1)
            (to_qkv): Linear(in_features=192, out_features=576, bias=False)
            (to_out): Sequential(
              (0): Linear(in_features=192, out_features=192, bias=True)
              (1): Dropout(p=0.1, inplace=False)
            )
          )
        )
        (1): PreNorm(
          (norm): LayerNorm((192,), eps=1e-05, elementwise_affine=True)
          (fn): FeedForward(
            (net): Sequential(
              (0): Linear(in_features=192, out_features=512, bias=True)
              (1): GELU(approximate='none')
              (2): Dropout(p=0.1, inplace=False)
              (3): Linear(in_features=512, out_features=192, bias=True)
              (4): Dropout(p=0.1, inplace=False)
            )
          )
        )
      )
    )
  )
  (to_latent): Identity()
  (mlp_head): Sequential(
    (0): LayerNorm((192,), eps=1e-05, elementwise_affine=True)
    (1): Linear(in_features=192, out_features=10, bias=True)
  )
)
"""

BAD = """\
ViT(
  (patch_embed): PatchEmbedding(
    (proj): Conv2d(3, 192, kernel_size=(4, 4), stride=(4, 4))
  )
  (pos_drop): Dropout(p=0.1, inplace=False)
  (blocks): ModuleList(
    (0-5): 6 x TransformerEncoderBlock(
      (norm1): LayerNorm((192,), eps=1e-05, elementwise_affine=True)
      (attn): MultiheadAttention(
        (out_proj): NonDynamicallyQuantizableLinear(in_features=192, out_features=192, bias=True)
      )
      (norm2): LayerNorm((192,), eps=1e-05, elementwise_affine=True)
      (mlp): MLP(
        (fc1): Linear(in_features=192, out_features=512, bias=True)
        (fc2): Linear(in_features=512, out_features=192, bias=True)
        (act): GELU(approximate='none')
        (dropout): Dropout(p=0.1, inplace=False)
      )
      (dropout): Dropout(p=0.1, inplace=False)
    )
  )
  (norm): LayerNorm((192,), eps=1e-05, elementwise_affine=True)
  (head): Linear(in_features=192, out_features=10, bias=True)
)
"""


def printed(name: str) -> str:
    lines = str(create_model(name)).splitlines()
    return "".join(f"{line.replace(', bias=True', '') if 'LayerNorm' in line else line}\n" for line in lines)


def test_good_vit_prints_as_given() -> None:
    assert printed("good-vit") == GOOD


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_vit_prints_the_same_whatever_its_fault(fault: str) -> None:
    assert printed(f"bad-vit:{fault}") == BAD


@pytest.mark.parametrize(("name", "inlined"), [("good_vit.txt", GOOD), ("bad_vit.txt", BAD)])
def test_the_texts_above_are_the_given_ones(name: str, inlined: str) -> None:
    if not SPEC.exists():
        pytest.skip("../shared/spec is not here; the prints are compared with the texts in this file")
    assert (SPEC / name).read_text(encoding="utf-8") == inlined


@pytest.mark.parametrize("name", ["good-vit", *(f"bad-vit:{fault}" for fault in FAULTS)])
def test_no_module_of_a_specimen_prints_itself(name: str) -> None:
    for module in create_model(name).modules():
        kind = type(module)
        if kind.__module__.startswith("vitscope"):
            assert "__repr__" not in vars(kind)
            assert "extra_repr" not in vars(kind)
    assert type(create_model(name)).__name__ == "ViT"


@pytest.mark.parametrize("name", ["bad-vit", *(f"bad-vit:{fault}" for fault in FAULTS)])
def test_bad_vit_has_the_given_number_of_parameters(name: str) -> None:
    assert sum(p.numel() for p in create_model(name).parameters()) == 2_102_218


def test_good_vit_has_the_given_number_of_parameters() -> None:
    assert sum(p.numel() for p in create_model("good-vit").parameters()) == 2_098_762


def test_start_values_of_position_and_class_token() -> None:
    good, bad = create_model("good-vit"), create_model("bad-vit:none")
    assert good.pos_embedding.std().item() == pytest.approx(1.0, abs=0.05)
    assert good.cls_token.std().item() == pytest.approx(1.0, abs=0.25)
    assert bad.pos_embed.std().item() == pytest.approx(0.02, abs=0.001)
    assert bad.cls_token.std().item() == pytest.approx(0.02, abs=0.005)
