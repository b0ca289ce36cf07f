"""The page of one image: its stages, both languages, nothing from outside, nothing of a name as markup, and the numbers of the trace."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from look_samples import STAGES, data_of, looked, our_vit, unpacked, words_of
from PIL import Image

from vitscope._core.text import LANGS, Lang, Text
from vitscope.model.create import build
from vitscope.model.presets import parse_model
from vitscope.report.html import number, script_data
from vitscope.report.looking import exhibits
from vitscope.report.looking import page as page_module
from vitscope.report.looking.look import Look
from vitscope.report.looking.page import page_of
from vitscope.report.words import WORDS

pytestmark = pytest.mark.e2e  # whole pages

JAPANESE = re.compile(r"[ぁ-んァ-ヶ一-龠]")
ENGLISH = re.compile(r"[A-Za-z]{2,} [A-Za-z]{2,} [A-Za-z]{2,}")
NASTY = "</script><script>alert(1)</script>\"'&<b>{{ 7*7 }}"


@pytest.fixture(scope="module")
def look() -> Look:
    return looked(our_vit(), label="kind 3")


@pytest.fixture(scope="module")
def pages(look: Look) -> dict[Lang, str]:
    return {lang: page_of(look, lang) for lang in LANGS}


@pytest.fixture(scope="module")
def specimen() -> tuple[Look, str]:
    """A specimen as it is used, six layers on 32×32 pixels."""
    spec = parse_model({"name": "bad-vit", "fault": "no-residual"})
    made = looked(build(spec).eval(), spec=spec)
    return made, page_of(made)


def test_every_stage_is_there_in_the_contracts_order(pages: dict[Lang, str], look: Look) -> None:
    for lang in LANGS:
        assert re.findall(r'<section class="stage" id="(\w+)">', pages[lang]) == STAGES
        assert re.findall(r'<a href="#(\w+)">', pages[lang]) == STAGES
    assert [stage.number for stage in look.stages] == list(range(1, 9))
    assert [stage.key for stage in look.stages] == [stage["key"] for stage in look.to_dict()["stages"]] == STAGES


def test_a_page_is_in_one_language(
    pages: dict[Lang, str], specimen: tuple[Look, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exhibits, "inline_svg", lambda figure: "<svg></svg>")
    for english in (pages["en"], specimen[1]):
        assert not [line for line in words_of(english) if JAPANESE.search(line)]
    shapes = {stage.shape for made in (specimen[0],) for stage in made.stages} | {"img.png"}
    for japanese in (pages["ja"], page_of(specimen[0], "ja")):
        lines = [
            re.sub(r"（[^（]*et al\.[^）]*）", "", line) for line in words_of(japanese)
        ]  # papers are cited as they are
        assert [line for line in lines if ENGLISH.search(line) and line not in shapes] == []
        assert '<html lang="ja">' in japanese
    assert not JAPANESE.search(" ".join(data_of(pages["en"])["words"].values()))
    assert not ENGLISH.search(" ".join(data_of(pages["ja"])["words"].values()))


def test_no_gap_of_a_template_is_left_open(pages: dict[Lang, str], specimen: tuple[Look, str]) -> None:
    for page in (*pages.values(), specimen[1]):
        for line in words_of(page):
            assert not re.search(r"\bNone\b|Undefined|\bnan\b|[{}]|Text\(|<bound|  +\S+=", line), line


@pytest.mark.parametrize("lang", LANGS)
def test_every_word_that_the_script_fills_in_has_its_value(pages: dict[Lang, str], lang: Lang) -> None:
    filled = {
        "extra_token": {"number"},
        "patch_at": {"row", "column"},
        "takes": {"who", "patches", "extra", "best", "share"},
        "takes_patches": {"who", "best", "share"},
    }
    for name, word in data_of(pages[lang])["words"].items():
        assert set(re.findall(r"\{(\w+)\}", word)) == filled.get(name, set()), name


def test_the_page_fetches_nothing(pages: dict[Lang, str], specimen: tuple[Look, str]) -> None:
    for page in (*pages.values(), specimen[1]):
        policy = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]*)">', page)
        assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"]
        fetched = re.findall(r'(?:src|href|data|action|poster)="([^"]*)"|url\(([^)]*)\)|@import', page)
        assert all((a or b).startswith(("data:", "#")) for a, b in fetched)
        assert set(re.findall(r"https?://[^\s\"'<)]+", page)) <= {  # names of XML's languages, which nobody opens
            "http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg",
        }  # fmt: skip
    assert len(specimen[1].encode()) < 5e6


@pytest.mark.usefixtures("quick")
def test_nothing_of_a_name_is_markup() -> None:
    made = looked(our_vit(depth=1), name=NASTY, label=NASTY)
    made = replace(made, subject=replace(made.subject, name=NASTY, label_names=(NASTY,) * 10))
    for lang in LANGS:
        page = page_of(made, lang)
        assert "<script>alert" not in page
        assert "<b>{{" not in page
        assert page.count("<script") == page.count("</script>") == 3
        assert any(NASTY in line for line in words_of(page))
        assert data_of(page)["grid"] == [4, 4]


def test_json_in_a_script_element_cannot_end_it() -> None:
    text = str(script_data({"a": "</script><!--<script>\u2028"}))
    assert "<" not in text
    assert "\u2028" not in text
    with pytest.raises(ValueError, match="JSON"):
        script_data(float("nan"))


def test_the_attention_on_the_page_is_the_traces(pages: dict[Lang, str], look: Look) -> None:
    data = data_of(pages["en"])
    codes = unpacked(data["attention"], data["layers"], data["heads"], data["tokens"], data["tokens"])
    assert codes.shape == (2, 4, 17, 17)
    maps = np.stack([look.trace[f"block{block:02}/attention"].numpy() for block in range(2)])
    apart = np.abs(data["top"] * (codes / 255.0) ** 2 - maps).max()
    printed = float(re.findall(r"largest rounding is ([\d.e-]+)\.", data["words"]["rounding"])[0])
    assert apart <= printed * 1.001  # it is printed to four places
    assert printed < 0.01
    assert data["top"] == pytest.approx(maps.max())
    assert [data["patchOfToken"][token] for token in data["tokenOfPatch"]] == list(range(16))
    assert (data["classToken"], data["extras"], data["start"]) == (0, [0], 0)


def test_cosines_and_the_logit_lens_on_the_page_are_the_traces(pages: dict[Lang, str], look: Look) -> None:
    data, views = data_of(pages["en"]), look.views
    assert views.positions is not None
    assert views.logit_lens is not None
    cosines = unpacked(data["cosines"], 16, 16) / 127.5 - 1
    assert np.abs(cosines - views.positions.cosines.numpy()).max() <= 0.5 / 127.5 + 1e-6
    lens = unpacked(data["lens"]["codes"], 2, 16) / 255.0 * data["lens"]["top"]
    own = views.logit_lens.patches.softmax(dim=-1)[:, :, look.target].numpy()
    assert np.abs(lens - own).max() <= 0.5 / 255 * data["lens"]["top"] + 1e-6


def _decoded(address: str) -> Any:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition("base64,")[2]))))


def test_the_pictures_put_back_are_the_image(look: Look) -> None:
    numbers, (sheet,) = page_module.SHOWN["patches"](look, "en")
    drawn = _decoded(sheet.body)
    scale = round(288 / 32)
    step = 8 * scale + max(2, scale)
    patches = [
        [drawn[y * step : y * step + 8 * scale, x * step : x * step + 8 * scale] for x in range(4)] for y in range(4)
    ]
    whole = np.concatenate([np.concatenate(row, axis=1) for row in patches])[::scale, ::scale]
    assert (whole[..., 3] == 255).all()
    image = look.trace["image"].permute(1, 2, 0).numpy()
    low, high = image.min(), image.max()
    assert np.abs(whole[..., :3] / 255.0 * (high - low) + low - image).max() <= 0.5 / 255 * (high - low) + 1e-5
    _, (shown,) = page_module.SHOWN["image"](look, "en")
    assert (_decoded(shown.body) == look.pixels).all()
    assert ("numbers in a patch", "192") in [(name.en, value) for name, value in numbers]


def test_the_answer_and_the_bars_are_the_models_scores(pages: dict[Lang, str], look: Look) -> None:
    probabilities = look.trace["logits"].softmax(dim=-1)
    rows = re.findall(
        r'<td>kind (\d)</td>.*?width: ([\d.]+)%.*?>([\d.]+) %</td><td class="n soft">([^<]*)<', pages["en"]
    )
    assert len(rows) == 10
    assert [int(row[0]) for row in rows] == look.trace["logits"].argsort(descending=True).tolist()
    for index, width, percent, score in rows:
        assert float(width) == pytest.approx(100 * float(probabilities[int(index)]), abs=0.006)
        assert float(percent) == pytest.approx(100 * float(probabilities[int(index)]), abs=0.06)
        assert score == number(float(look.trace["logits"][int(index)]))
    assert f"<b>kind {look.target}</b>" in pages["en"]


@pytest.mark.parametrize(
    ("label", "names", "right", "words"),
    [
        ("kind", True, True, "✓ right"),
        ("other", True, False, "✗ wrong"),
        ("seven", True, None, "the right answer: <b>seven</b>"),
        ("seven", False, None, "the right answer: <b>seven</b>"),
        (None, True, None, "the right answer is not known"),
    ],
)
def test_right_wrong_or_neither(
    look: Look, monkeypatch: pytest.MonkeyPatch, label: str | None, names: bool, right: bool | None, words: str
) -> None:
    """A label that is none of the model's own (a digit, shown to a model of animals) makes no answer wrong."""
    said = {"kind": f"kind {look.target}", "other": f"kind {(look.target + 1) % 10}"}.get(label or "", label)
    made = replace(look, label=said, subject=look.subject if names else replace(look.subject, label_names=None))
    assert made.is_right is right
    monkeypatch.setattr(page_module, "SHOWN", dict.fromkeys(STAGES, lambda look, lang: ((), ())))
    page = page_of(made)
    assert words in page
    assert ("✗" in page, "✓" in page) == (right is False, right is True)


def test_what_the_lens_says_of_every_block_is_said_once(specimen: tuple[Look, str]) -> None:
    notes = [note for note in specimen[0].trace.notes if note.en.startswith("block ")]
    assert len(notes) >= 6
    lines = words_of(specimen[1])
    assert not [line for line in lines if re.match(r"block \d: ", line)]
    assert sum("every block: " in line for line in lines) == len(notes) / 6


def test_what_some_blocks_have_is_said_with_their_numbers(look: Look) -> None:
    notes = (*(Text(f"block {n}: odd", f"ブロック{n}: 妙") for n in (0, 2, 11)), Text("all", "全部"))
    many = replace(look, trace=replace(look.trace, notes=notes))
    assert page_module._notes(many) == (Text("block 0, 2, 11: odd", "ブロック0, 2, 11: 妙"), Text("all", "全部"))


@pytest.mark.usefixtures("quick")
def test_a_page_that_would_be_too_large_averages_heads(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "MOST_SHARES", 2 * 4 * 17 * 17 - 1)
    data = data_of(page_of(look))
    assert (data["heads"], data["mean"]) == (1, True)
    maps = torch.stack([look.trace[f"block{block:02}/attention"].mean(dim=0) for block in range(2)]).numpy()
    codes = unpacked(data["attention"], 2, 17, 17)
    assert np.abs(data["top"] * (codes / 255.0) ** 2 - maps).max() < 0.01
    assert WORDS["heads_averaged"].en in data["words"]["rounding"]


def test_names_in_pictures_are_cut_where_they_would_fill_them(look: Look) -> None:
    long = replace(look, subject=replace(look.subject, label_names=("x" * 24, "y" * 25, *"abcdefgh")))
    assert long.labels == ("x" * 24, "y" * 23 + "…", *"abcdefgh")
    assert long.top()[0][1] in long.subject.label_names  # type: ignore[operator]
