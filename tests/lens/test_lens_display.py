"""What a notebook shows of a trace: everything by name, proof and notes, one picture; nothing from outside, nothing that is not escaped."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from lens_samples import FAMILIES, OURS, tiny_image
from PIL import Image

from vitscope._core import pictures
from vitscope._core.text import Text
from vitscope.lens.display import html_of
from vitscope.lens.trace import Trace, trace
from vitscope.model.create import create_model

pytestmark = pytest.mark.e2e  # whole pages


def ours(channels: int = 3, **changed: Any) -> Trace:
    torch.manual_seed(0)
    model = create_model("vit-ti4-32", **{**OURS, **changed, "channels": channels})
    return trace(model, tiny_image()[:, :channels])


def specimen(name: str) -> Trace:
    torch.manual_seed(0)
    return trace(create_model(name), tiny_image())


SHOWN = {
    "good-vit": lambda: specimen("good-vit"),
    "bad-vit": lambda: specimen("bad-vit"),
    "patches mixed": lambda: specimen("bad-vit:scrambled-patches"),
    "no class token": lambda: ours(pooling="mean", registers=2),
    "patches overlap": lambda: ours(patch_embedding="conv-tokenizer", tokenizer_layers=3),
    "one channel": lambda: ours(channels=1),
    "half precision": lambda: trace(FAMILIES["vitscope"].build().bfloat16(), tiny_image().bfloat16()),
    "tokens first": lambda: trace(FAMILIES["sequence first"].build(), tiny_image()),
}


def picture_in(html: str) -> Image.Image:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


@pytest.mark.parametrize("name", SHOWN)
def test_it_is_small_whole_and_holds_every_name(name: str) -> None:
    found = SHOWN[name]()
    html = html_of(found, "en")
    assert len(html) < 150_000
    assert not re.search(r"<script|<link|<style|https?:|url\(", html)
    rows = re.findall(r"<code[^>]*>([^<]+)</code>", html)
    parts = {each.split("/")[-1] for each in found}
    assert {row.split("/")[-1] for row in rows} == parts
    assert len(rows) < 40
    assert f"{found.worst_error:.1e}" in html
    assert all(note.en in html for note in found.notes)
    picture = picture_in(html)
    assert picture.mode == "RGBA"
    assert picture.getpixel((0, 0))[3] == 0  # what is behind is the notebook's


def test_the_picture_has_a_panel_for_each_head() -> None:
    assert picture_in(html_of(ours(heads=2, dim=48), "en")).width < picture_in(html_of(ours(heads=4), "en")).width


def test_it_says_who_looks() -> None:
    assert "Where the class token (token 0) looks in the last block (block 1)" in html_of(ours(), "en")
    mean = html_of(ours(pooling="mean", registers=2), "en")
    assert "Where the mean of the 16 tokens that the scores are read from looks" in mean
    assert "no map of where they look" in html_of(SHOWN["patches mixed"](), "en")


def test_the_share_of_tokens_that_are_no_patches_is_the_maps() -> None:
    found = ours()
    share = float(found["block01/attention"][:, 0, 0].mean())
    assert f"{share:.0%} goes to tokens that are no patches" in html_of(found, "en")


def test_it_is_in_the_language_of_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "japanese_font", lambda: "DejaVu Serif")  # takes the place of one
    found = ours()
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    japanese = found._repr_html_()
    assert "画像1枚のトレース" in japanese
    assert 'lang="ja"' in japanese
    monkeypatch.setenv("LC_ALL", "C")
    english = found._repr_html_()
    assert "Trace of one image" in english
    assert not any("ぁ" <= letter <= "ん" for letter in english)


def test_words_are_escaped() -> None:
    found = replace(ours(), notes=(Text("<b onerror=x> & co", "<b>"),))
    html = html_of(found, "en")
    assert "&lt;b onerror=x&gt; &amp; co" in html
    assert "<b " not in html


def test_tags_are_closed() -> None:
    html = re.sub(r"<img[^>]*>", "", html_of(ours(), "en"))
    ElementTree.fromstring(html)
