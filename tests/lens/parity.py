"""Every family of ViTs through the lens, as a table: `python tests/lens/parity.py > docs/lens-parity.md`.

In go tiny random models (`lens_samples`), whose libraries must be installed; out comes Markdown: the worst error of each, or the sentence
with which it is refused.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from lens_samples import FAMILIES, SIZES, tiny_image
from torch import Tensor, nn

from vitscope._core.errors import LensError
from vitscope.bench.torchvision_names import make_torchvision_importable
from vitscope.lens.trace import scores_of, trace

LIBRARIES = {"timm": "timm", "transformers": "transformers", "torchvision": "torchvision", "vit_pytorch": "vit-pytorch"}


def _part(module: str, name: str, **words: Any) -> nn.Module:
    make_torchvision_importable()
    made: nn.Module = getattr(import_module(module), name)(**words)
    return made


_WINDOWS: dict[str, Any] = {"embed_dim": 24, "num_classes": 10}
REFUSED: dict[str, Callable[[], nn.Module]] = {
    "timm Swin": lambda: _part(
        "timm.models.swin_transformer", "SwinTransformer", img_size=32, patch_size=2, window_size=4, depths=(2, 2), num_heads=(2, 4), **_WINDOWS
    ),
    "torchvision Swin": lambda: _part(
        "torchvision.models", "SwinTransformer", patch_size=[2, 2], window_size=[4, 4], depths=[2, 2], num_heads=[2, 4], **_WINDOWS
    ),
    "timm CaiT": lambda: _part("timm.models.cait", "Cait", **SIZES),
    "timm XCiT": lambda: _part("timm.models.xcit", "Xcit", **SIZES),
    "torchvision ResNet": lambda: _part("torchvision.models", "resnet18", num_classes=10),
}  # fmt: skip


@dataclass(frozen=True)
class Row:
    """What the lens found in one family, or why it showed nothing."""

    family: str
    blocks: int = 0
    heads: int = 0
    tokens: int = 0
    error: float = float("nan")
    """Of map · v, the worst of all attentions, beside the largest number of the module's own output."""
    apart: float = float("nan")
    """Largest difference between the trace's scores and those of the model by itself, beside the largest of these."""
    refusal: str = ""


def names() -> list[str]:
    """All families, in the order of the table."""
    return [*FAMILIES, *REFUSED]


def missing() -> list[str]:
    """The libraries that are not installed."""
    return [library for module, library in LIBRARIES.items() if find_spec(module) is None]


def rows() -> Iterator[Row]:
    """All of the table."""
    yield from (row(family) for family in names())


def row(family: str) -> Row:
    """Builds one with seed 0, looks at it, and runs it once more by itself."""
    torch.manual_seed(0)
    model = FAMILIES[family].build() if family in FAMILIES else REFUSED[family]()
    for parameter in model.parameters():  # heads and layer scales may begin at zero, where all scores are alike
        parameter.data += 0.05 * torch.randn_like(parameter)
    try:
        found = trace(model, tiny_image())
    except LensError as refusal:
        return Row(family, refusal=str(refusal))
    with torch.no_grad():
        own: Tensor = scores_of(model.eval()(tiny_image()))[0]
    apart = float((found["logits"] - own).abs().max() / own.abs().max().clamp(min=1e-12))
    heads, tokens = len(found["block00/attention"]), len(found.layout.patch_of_token)
    return Row(family, len(found.attentions), heads, tokens, found.worst_error, apart)


def table(measured: list[Row]) -> str:
    """The page."""
    versions = ", ".join(f"{library} {version(library)}" for library in ("torch", *LIBRARIES.values()))
    lines = [
        "# The lens and other people's ViTs",
        "",
        "Tiny models of every family, float32, 32 × 32 pixels, patches of 8 (the specimens: 4), width 48 (the specimens: 192), weights as built with",
        "seed 0 and a random 0.05 added to each, so that none is zero. `sequence first`, `by hand` and `keys first` are hand-written",
        "(`tests/lens/lens_samples.py`). Each attention map is computed again from the module's own queries and keys.",
        "",
        "- `map · v`: how far map times values is from what the module itself went on with, beside the largest number of that; the worst of",
        "  all attentions. Beyond 1e-5 a model is refused. `bad-vit` has attention along the batch: with one image each token meets itself alone.",
        "- `scores`: how far the trace's class scores are from those of the model run by itself, beside the largest of those. torch's own encoder",
        "  layers round otherwise when nobody looks.",
        "",
        f"Command: `python tests/lens/parity.py > docs/lens-parity.md`; {versions}, Python {platform.python_version()}, {platform.machine()}.",
        "`tests/lens/test_lens_parity.py` holds this page's families against what is measured, and each error against 1e-5.",
        "",
        "| family | blocks | heads | tokens | map · v | scores |",
        "|---|---:|---:|---:|---:|---:|",
        *(
            f"| {each.family} | {each.blocks} | {each.heads} | {each.tokens} | {each.error:.1e} | {each.apart:.1e} |"
            for each in measured
            if not each.refusal
        ),
        "",
        "Refused, each in one sentence:",
        "",
        "| family | what the lens says |",
        "|---|---|",
        *(f"| {each.family} | {each.refusal.replace('|', '/')} |" for each in measured if each.refusal),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if missing():
        sys.exit(f"not installed: {', '.join(missing())}; the extra 'bench' has them")
    sys.stdout.write(table(list(rows())))
