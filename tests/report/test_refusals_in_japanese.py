"""What the lens refuses is Japanese on Japanese pages: that of an image, and that of a run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from look_samples import looked, picture, words_of
from torch import Tensor

from vitscope._core.errors import LensError
from vitscope._core.preprocessing import Preprocessing
from vitscope._core.text import Text
from vitscope.lens.trace import Trace
from vitscope.model.create import build, create_model
from vitscope.recipes.load import load_recipe, model_spec
from vitscope.recipes.measure import Prediction
from vitscope.recipes.trained import TrainedModel
from vitscope.report.judging import pictures
from vitscope.report.looking.page import page_of


@pytest.mark.usefixtures("quick")
def test_the_page_of_an_image_says_in_japanese_what_is_not_shown() -> None:
    torch.manual_seed(0)
    made = looked(create_model("bad-vit:cls-detached", depth=2))
    why = made.views.absent["attribution"]
    assert why.en.startswith("Not shown: the scores cannot be differentiated down to the pixels (")
    assert why.ja.startswith("表示できません。スコアを画素で微分できないため、各画素の寄与は示せません: ")
    for lang in ("en", "ja"):
        assert any(why[lang] in line for line in words_of(page_of(made, lang)))


def trained(*changes: str) -> tuple[TrainedModel, Any]:
    recipe = load_recipe("quickstart", changes=changes)
    spec = model_spec(recipe)
    height, width = spec.image_size
    half = (0.5,) * spec.channels
    ready = Preprocessing(image_size=(height, width), channels=spec.channels, mean=half, std=half)
    return TrainedModel(build(spec).eval(), spec, ready, tuple(str(i) for i in range(spec.classes))), recipe


def test_the_report_says_in_japanese_that_there_is_no_position() -> None:
    found = pictures.position_change(*trained("model.position=none"))
    assert found.absent is not None
    assert found.absent.en.startswith("No position embedding to compare: no position embedding is added to the tokens")
    assert found.absent.ja.startswith(
        "比較する位置埋め込みがありません。このモデルのトークンには位置埋め込みが足されていません。"
    )
    assert found.absent.ja.endswith("と考えられます。")


def test_the_report_says_in_japanese_why_no_attention_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(model: torch.nn.Module, image: Tensor) -> Trace:
        raise LensError(Text("tokens are sorted", "トークンが並べ替えられています"))

    model, recipe = trained()
    probability = float(model.predict(picture())[0].max())
    monkeypatch.setattr(pictures, "open_item", lambda name, spec: SimpleNamespace(image=picture(), label="0"))
    monkeypatch.setattr(pictures, "trace", refuse)
    found = pictures.gallery_of(model, [Prediction("a", "0", "1", 0, probability, 0.1)], recipe)
    assert found.absent == Text(
        "No attention beside the pictures: tokens are sorted.",
        "アテンションは表示できません。トークンが並べ替えられています。",
    )
