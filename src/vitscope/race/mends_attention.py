"""Mends of attention, one function a kind of fault: a copy of a model, what was found and a few images in, a sentence on what was changed out (None
where there was nothing to change). The modules that the finding names are run in another way; no weight changes.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from vitscope._core.text import Text
from vitscope.doctor.finding import Finding
from vitscope.race.ways import under
from vitscope.race.ways_attention import OverKeys, Scaled, WholeTokens


def scaled(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """Scores times what their scale lacks to one over the root of a head's width."""
    expected, scale = finding.evidence["expected_scale"], finding.evidence["scale"]
    for module in _named(model, finding):
        under(module, partial(Scaled, expected / scale))
    width = finding.evidence["head_width"]
    return Text(f"scores multiplied by 1/√{width}", f"スコアに1/√{width}を適用")


def over_keys(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """The softmax of scores along the keys."""
    for module in _named(model, finding):
        under(module, OverKeys)
    return Text("softmax over the keys", "softmaxをキーの軸に変更")


def whole_tokens(model: nn.Module, finding: Finding, images: Tensor) -> Text | None:
    """Views that cut heads out across tokens, or put them back there, with a transpose."""
    for module in _named(model, finding):
        under(module, WholeTokens)
    return Text(
        "heads cut out of each token's width, and put back there (with a transpose)",
        "ヘッドを各トークンの幅から切り出し、元に戻すよう変更（transposeを使用）",
    )


def _named(model: nn.Module, finding: Finding) -> list[nn.Module]:
    """The modules that a finding names, each once."""
    paths = dict.fromkeys(str(path) for path in finding.evidence["modules"])
    return [model.get_submodule("" if path == "the model" else path) for path in paths]
