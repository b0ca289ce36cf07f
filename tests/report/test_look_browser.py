"""The page of one image in a real browser: nothing is fetched, nothing fails, and the maps show what the page's data say."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from look_samples import data_of, looked, our_vit, unpacked

from vitscope._core.text import LANGS, Lang
from vitscope.report.art import colour_table
from vitscope.report.looking.page import page_of
from vitscope.report.words import WORDS

pytestmark = pytest.mark.e2e
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
READING = "willReadFrequently"
"""In what chromium remarks where canvases are read back, which only these tests do."""


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Starts the browser that is on this machine; none is downloaded."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as running:
        start = partial(running.chromium.launch, executable_path=CHROMIUM)
        try:
            start(args=OPTIONS).close()
        except playwright.Error as error:  # Ubuntu's is a stub that asks for a snap
            pytest.skip(f"{CHROMIUM} does not start: {str(error).splitlines()[0]}")
        yield lambda *options: start(args=[*OPTIONS, *options])


@pytest.fixture(scope="module")
def browser(launch: Callable[..., Any]) -> Iterator[Any]:
    made = launch()
    yield made
    made.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Lang, Path]:
    look, folder = looked(our_vit(), label="kind 3"), tmp_path_factory.mktemp("pages")
    for lang in LANGS:
        (folder / f"{lang} 頁.html").write_text(page_of(look, lang), encoding="utf-8")
    return {lang: folder / f"{lang} 頁.html" for lang in LANGS}


@pytest.fixture(scope="module")
def data(pages: dict[Lang, Path]) -> Any:
    return data_of(pages["en"].read_text(encoding="utf-8"))


@contextmanager
def opened(browser: Any, path: Path, *, width: int = 1100, **options: Any) -> Iterator[Any]:
    """A page that is ready; afterwards it has complained of nothing and asked for nothing but itself."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(message.text) if READING not in message.text else None)
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda request: heard.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(path.as_uri())
    page.locator("#says:not(:empty)").wait_for()
    yield page
    context.close()
    assert heard == [path.as_uri()]


def colours(page: Any, canvas: str) -> list[tuple[int, int, int]]:
    """The colour in the middle of each of 16 cells."""
    found = page.evaluate(
        """(id) => { const c = document.getElementById(id), pen = c.getContext('2d'), s = c.width / 4;
        return [...Array(16).keys()].map((p) => [...pen.getImageData((p % 4 + .5) * s, (Math.floor(p / 4) + .5) * s, 1, 1).data].slice(0, 3)); }""",
        canvas,
    )
    return [tuple(colour) for colour in found]


def shows(page: Any, data: Any, layer: int, head: int, token: int) -> bool:
    """Whether the map is where a token looks by the page's data; head -1 is the mean, which may be rounded to the next colour."""
    T, K = data["tokens"], data["heads"]
    codes = unpacked(data["attention"], data["layers"], K, T, T)[layer, :, token].astype(float)
    row = codes[head] if head >= 0 else (255 * ((codes / 255) ** 2).mean(axis=0) ** 0.5).round()
    wanted = colour_table("viridis")[row[data["tokenOfPatch"]].astype(int)].astype(int)
    return bool(np.abs(np.array(colours(page, "map")) - wanted).max() <= (0 if head >= 0 else 3))


def point(page: Any, patch: int) -> tuple[float, float]:
    page.locator("#picker").scroll_into_view_if_needed()
    box = page.locator("#picker").bounding_box()
    return box["x"] + box["width"] * (patch % 4 + 0.5) / 4, box["y"] + box["height"] * (patch // 4 + 0.5) / 4


def says(page: Any) -> str:
    text: str = page.locator("#says").text_content()
    return text


def test_the_page_starts_at_the_class_token(browser: Any, pages: dict[Lang, Path], data: Any) -> None:
    with opened(browser, pages["en"]) as page:
        assert says(page).startswith("the class token: ")
        assert shows(page, data, 1, -1, data["classToken"])
        assert page.locator("#layer").input_value() == "1"
        assert page.locator("#head option:checked").text_content() == "mean of heads"


def test_the_map_follows_the_pointer(browser: Any, pages: dict[Lang, Path], data: Any) -> None:
    with opened(browser, pages["en"]) as page:
        page.locator("#head").select_option("2")
        shown = []
        for patch in (5, 14):
            page.mouse.move(*point(page, patch))
            shown.append(colours(page, "map"))
            assert shows(page, data, 1, 2, data["tokenOfPatch"][patch])
            assert says(page).startswith(f"patch in row {patch // 4 + 1}, column {patch % 4 + 1}: ")
            cosines = unpacked(data["cosines"], 16, 16)[patch]
            diverging = colour_table("RdBu_r").tolist()
            assert colours(page, "alike") == [tuple(diverging[code]) for code in cosines]
        assert shown[0] != shown[1]


def test_what_the_status_says_is_what_the_map_holds(browser: Any, pages: dict[Lang, Path], data: Any) -> None:
    T, token = data["tokens"], data["tokenOfPatch"][6]
    row = data["top"] * (unpacked(data["attention"], 2, 4, T, T)[0, 2, token] / 255.0) ** 2
    patches = row[data["tokenOfPatch"]].sum() / row.sum()
    with opened(browser, pages["en"]) as page:
        page.locator("#layer").select_option("0")
        page.locator("#head").select_option("2")
        page.mouse.move(*point(page, 6))
        found = re.findall(
            r": (\d+) % of its attention on patches, (\d+) % on tokens that are no patch; .*\((\d+) %\)", says(page)
        )
        assert [int(x) for x in found[0]] == [round(100 * patches), round(100 * (1 - patches)), round(100 * row.max())]


def test_layer_and_head_choose_the_map(browser: Any, pages: dict[Lang, Path], data: Any) -> None:
    with opened(browser, pages["en"]) as page:
        for layer, head in ((0, 0), (0, 3), (1, 2)):
            page.locator("#layer").select_option(str(layer))
            page.locator("#head").select_option(str(head))
            assert shows(page, data, layer, head, data["classToken"])
        box = page.locator(
            "#overview"
        ).bounding_box()  # 5 columns, 2 rows: one for each head and the mean, one for each layer
        page.locator("#overview").click(position={"x": box["width"] * 1.5 / 5, "y": box["height"] * 0.5 / 2})
        assert (page.locator("#layer").input_value(), page.locator("#head").input_value()) == ("0", "1")
        assert shows(page, data, 0, 1, data["classToken"])


def test_a_click_holds_and_another_lets_go(browser: Any, pages: dict[Lang, Path], data: Any) -> None:
    with opened(browser, pages["en"]) as page:
        page.mouse.click(*point(page, 9))
        held = colours(page, "map")
        page.mouse.move(*point(page, 2))
        assert colours(page, "map") == held
        assert shows(page, data, 1, -1, data["tokenOfPatch"][9])
        page.mouse.click(*point(page, 9))
        page.mouse.move(*point(page, 2))
        assert shows(page, data, 1, -1, data["tokenOfPatch"][2])


def test_arrow_keys_move_and_stop_at_the_edge(browser: Any, pages: dict[Lang, Path]) -> None:
    with opened(browser, pages["en"]) as page:
        page.locator("#picker").focus()
        seen = []
        for key in ("ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "ArrowUp", "ArrowUp"):
            page.keyboard.press(key)
            seen.append(tuple(map(int, re.findall(r"row (\d+), column (\d+):", says(page))[0])))
        assert seen == [(1, 1), (1, 2), (2, 2), (2, 1), (2, 1), (1, 1), (1, 1)]


def test_buttons_choose_tokens_that_are_no_patch(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "registers.html"
    path.write_text(page_of(looked(our_vit(registers=1))), encoding="utf-8")
    data = data_of(path.read_text(encoding="utf-8"))
    with opened(browser, path) as page:
        buttons = page.locator("#extras button")
        assert buttons.all_text_contents() == ["the class token", "extra token 1"]
        page.mouse.move(*point(page, 9))
        assert [b.get_attribute("aria-pressed") for b in buttons.all()] == ["false", "false"]
        buttons.nth(1).click()
        assert says(page).startswith("extra token 1: ")
        assert shows(page, data, 1, -1, data["extras"][1])
        assert [b.get_attribute("aria-pressed") for b in buttons.all()] == ["false", "true"]


def test_the_logit_lens_follows_its_slider(browser: Any, pages: dict[Lang, Path], data: Any) -> None:
    codes, table = unpacked(data["lens"]["codes"], 2, 16), colour_table("viridis").tolist()
    with opened(browser, pages["en"]) as page:
        assert page.locator("#depth-says").text_content() == "1"
        for block in (1, 0):
            page.locator("#depth").fill(str(block))
            assert colours(page, "lens") == [tuple(table[code]) for code in codes[block]]


def test_dark_and_light(browser: Any, pages: dict[Lang, Path]) -> None:
    paper = "getComputedStyle(document.body).backgroundColor"
    light, dark = "rgb(255, 255, 255)", "rgb(20, 23, 27)"
    for scheme, first, second in (("light", light, dark), ("dark", dark, light)):
        with opened(browser, pages["en"], color_scheme=scheme) as page:
            seen = [page.evaluate(paper)]
            for _ in range(2):
                page.locator("#theme").click()
                seen.append(page.evaluate(paper))
            assert seen == [first, second, first]


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("width", [380, 1100])
def test_it_fits_the_screen_in_both_languages(browser: Any, pages: dict[Lang, Path], lang: Lang, width: int) -> None:
    with opened(browser, pages[lang], width=width, has_touch=width < 400) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("document.documentElement.lang") == lang
        assert says(page).startswith(WORDS["class_token"][lang])
        too_wide = """[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1
            && !e.closest('.scroll')).map((e) => e.tagName + '#' + e.id)"""
        assert page.evaluate(too_wide) == []
        if width < 400:
            page.touchscreen.tap(*point(page, 10))
            assert says(page).startswith(WORDS["patch_at"].format(row=3, column=3)[lang])
            for canvas in ("map", "overview", "picker"):  # a finger on a map moves the page
                assert page.evaluate(f"getComputedStyle(document.getElementById('{canvas}')).touchAction") in (
                    "auto",
                    "pan-y",
                )


def test_names_as_long_as_they_come_fit_a_phone(browser: Any, tmp_path: Path) -> None:
    path, name = tmp_path / "long.html", "a_very.long_package.with_a_module:AndAClassOfTheSameKindThatNobodyWouldType"
    path.write_text(page_of(looked(our_vit(), name=name, label=name, label_names=(name,) * 10)), encoding="utf-8")
    with opened(browser, path, width=380) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == 380
        lines = page.locator(".bars td.n").evaluate_all(
            "cells => cells.map((cell) => { const r = document.createRange(); r.selectNodeContents(cell); return r.getClientRects().length; })"
        )
        assert set(lines) == {1}


def test_without_scripts_the_page_says_so_and_shows_the_rest(
    launch: Callable[..., Any], pages: dict[Lang, Path]
) -> None:
    browser = launch("--blink-settings=scriptEnabled=false")
    page = browser.new_page(java_script_enabled=False)
    page.goto(pages["en"].as_uri())
    assert page.locator("noscript").inner_text() == WORDS["no_script"].en
    assert page.locator("#theme").is_hidden()
    assert page.locator("section.stage img").first.is_visible()
    browser.close()
