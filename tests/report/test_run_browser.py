"""The page of runs in a real browser: nothing is fetched, nothing fails, nothing is wider than a phone, long names stay in their place."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from vitscope._core.text import LANGS, Lang
from vitscope.cli.main import main

pytestmark = pytest.mark.e2e
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
LONG = "a very long name of a class that goes on and on"
MODEL = "{name: vit-ti8-64, image_size: 8, patch_size: 4, dim: 16, depth: 1, heads: 2, mlp_dim: 32}"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed (pip install playwright)"
    )
    if CHROMIUM is None:
        pytest.skip("there is no chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as running:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        made = running.chromium.launch(executable_path=CHROMIUM, args=options)
        yield made
        made.close()


def vitscope(*words: str | Path) -> None:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    assert end.value.code == 0


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[Lang, Path]:
    """Two runs beside each other, on other classes each, one with names that no table has room for."""
    folder = tmp_path_factory.mktemp("pages")
    for number, name in enumerate(("<b>犬", LONG, "cat")):
        (folder / "photos" / name).mkdir(parents=True)
        for each in range(8):
            Image.new("RGB", (12, 9), (80 * number, 20 * each, 9)).save(folder / "photos" / name / f"{each}.png")
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"model: {MODEL}\ndata: {{source: digits, limit: 200}}\ntrain: {{duration: 1ep, batch_size: 8, device: cpu}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITSCOPE_CACHE", str(folder / "cache"))
        vitscope("train", recipe, "--out", folder / "digits")
        vitscope("train", recipe, "--data", folder / "photos", "--out", folder / "photos-run")
        for lang in LANGS:
            vitscope(
                "report", folder / "photos-run", folder / "digits", "--lang", lang, "--out", folder / f"{lang}.html"
            )
    return {lang: folder / f"{lang}.html" for lang in LANGS}


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("width", [1100, 380])
def test_the_page_opens_by_itself_and_fits(browser: Any, pages: dict[Lang, Path], lang: Lang, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900})
    page, heard = context.new_page(), []
    page.on("console", lambda message: heard.append(message.text))
    page.on("pageerror", lambda error: heard.append(f"error: {error}"))
    page.on("request", lambda request: heard.append(request.url) if not request.url.startswith("data:") else None)
    page.goto(pages[lang].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("section h2").count() == 10
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    rows = page.locator(".matrix").first.locator("tbody tr")
    assert max(rows.nth(number).bounding_box()["height"] for number in range(rows.count())) < 40
    assert page.locator(f'.matrix [title="{LONG}"]').count() == 2
    assert page.locator("main b", has_text="犬").count() == page.locator("main b", has_text="<b>犬").count()
    context.close()
    assert heard == [pages[lang].as_uri()]


def test_the_button_turns_paper_and_words_dark_and_light(browser: Any, pages: dict[Lang, Path]) -> None:
    page = browser.new_context(color_scheme="light").new_page()
    page.goto(pages["en"].as_uri())
    seen = []
    for _ in range(3):
        seen.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        page.locator("#theme").click()
    assert seen == ["rgb(255, 255, 255)", "rgb(20, 23, 27)", "rgb(255, 255, 255)"]
    page.context.close()
