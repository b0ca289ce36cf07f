"""`vitscope report`: the page of a run and of two beside each other, what it says, and what it does with a run that is not whole."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
from cli_samples import Command

from vitscope.runs import RunFolder

SECTIONS = (
    "summary",
    "curve",
    "classes",
    "confusion",
    "calibration",
    "pictures",
    "position",
    "speed",
    "recipe",
    "again",
)
JAPANESE = re.compile(r"[぀-ヿ一-鿿]")


def shown(page: Path) -> str:
    """The words of a page, without what is drawn."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"<(style|script|svg|title)\b.*?</\1>", "", text, flags=re.S)
    return re.sub(r"<[^>]+>", " ", text)


def test_the_page_of_a_run(vitscope: Command, run: Path) -> None:
    ended = vitscope("report", str(run))
    assert (ended.code, ended.out) == (0, "")
    assert "report.html" in ended.err
    page = run / "report.html"
    html, words = page.read_text(encoding="utf-8"), shown(page)
    assert re.findall(r'<section id="(\w+)">', html) == list(SECTIONS)
    total = json.loads((run / "evaluation.json").read_text())["total"]
    assert f"{total['accuracy']:.2f} % (95 % interval {total['low']:.2f} to {total['high']:.2f}" in words
    assert "None" not in words
    assert not re.search(r"\{\w+\}", words)
    assert len(html.encode()) < 2e6


def test_it_asks_no_network_for_anything(vitscope: Command, run: Path) -> None:
    vitscope("report", str(run))
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    fetched = re.findall(
        r"""(?:src|href)\s*=\s*["'](?!data:|#)([^"']+)""", re.sub(r"<svg.*?</svg>", "", html, flags=re.S)
    )
    assert fetched == []


def test_it_is_in_japanese(vitscope: Command, run: Path) -> None:
    vitscope("report", str(run), "--lang", "ja")
    words = shown(run / "report.html")
    for said in ("まとめ", "学習曲線", "混同行列", "信頼区間", "再現方法", "注目すべき画像", "学習前", "学習後"):
        assert said in words
    english = [line.strip() for line in words.splitlines() if re.search(r"\b(the|is|of|and)\b", line)]
    assert [line for line in english if "vitscope" not in line and "summary" not in line and ":" not in line] == []


def test_the_mistakes_shown_are_the_surest_ones(vitscope: Command, run: Path) -> None:
    ended = vitscope("report", str(run), "--json")
    (seen,) = ended.json["runs"]
    with (run / "predictions.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    wrong = sorted((r for r in rows if r["right"] == "0"), key=lambda r: -float(r["probability"]))
    assert [s["image"] for s in seen["mistakes"]] == [r["image"] for r in wrong[:8]]
    hard = sorted(
        (r for r in rows if r["image"] not in {r["image"] for r in wrong[:8]}),
        key=lambda r: float(r["probability_of_label"]),
    )
    assert [s["image"] for s in seen["hardest"]] == [r["image"] for r in hard[:8]]
    html = (run / "report.html").read_text(encoding="utf-8")
    assert html.count('alt="looked at"') == len(seen["mistakes"]) + len(seen["hardest"])  # attention beside each


def test_the_position_before_is_that_of_the_runs_start(vitscope: Command, run: Path) -> None:
    from vitscope.recipes.build import gather
    from vitscope.recipes.run import recipe_of_run
    from vitscope.recipes.trained import load
    from vitscope.report.judging.pictures import position_change

    recipe = recipe_of_run(RunFolder.open(run))
    begun = gather(recipe).model.state_dict()["position.table"].reshape(-1, 16)
    found = position_change(load(run), recipe)
    assert found.before is not None
    assert found.after is not None
    rows = begun[-len(found.before.cosines) :].double()
    rows = rows / rows.norm(dim=1, keepdim=True)
    assert float((found.before.cosines - (rows @ rows.T)).abs().max()) < 1e-5
    assert float((found.before.cosines - found.after.cosines).abs().max()) > 1e-3


def test_two_runs_beside_each_other(vitscope: Command, run: Path, tmp_path: Path) -> None:
    other, page = tmp_path / "other", tmp_path / "both.html"
    shutil.copytree(run, other)
    recipe = other / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("seed: 0", "seed: 7", 1))
    ended = vitscope("report", str(run), str(other), "--out", str(page), "--json")
    assert [each["name"] for each in ended.json["runs"]] == ["run", "other"]
    (difference,) = ended.json["differences"]
    assert (difference["points"], difference["only_one"], difference["only_other"], difference["clear"]) == (
        0,
        0,
        0,
        False,
    )
    words = shown(page)
    assert "nothing tells the two apart" in words
    assert "seed" in words.partition("Settings in which the runs differ")[2]
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("name", ["evaluation.json", "predictions.csv"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_what_is_missing_or_damaged_is_measured_again(vitscope: Command, run: Path, name: str, damage: str) -> None:
    before = vitscope("report", str(run), "--json").json["runs"][0]["evaluation"]
    file = run / name
    content = file.read_text()
    match damage:
        case "missing":
            file.unlink()
        case "cut":
            file.write_text(content[: len(content) // 2])
        case _:
            file.write_text("{}\n" if name.endswith("json") else content.replace(",1,", ",0,", 1))
    after = vitscope("report", str(run), "--json").json["runs"][0]
    assert after["evaluation"]["total"] == before["total"]
    assert after["mistakes"]


def test_an_unfinished_run_is_said_to_be_one(vitscope: Command, run: Path) -> None:
    RunFolder.open(run).write_state("interrupted", 2)
    ended = vitscope("report", str(run), "--json")
    assert ended.json["runs"][0]["finished"] is False
    assert "not finished" in shown(run / "report.html")


def test_without_its_data_the_page_says_so(vitscope: Command, run: Path) -> None:
    predictions = run / "predictions.csv"
    predictions.write_text(predictions.read_text().replace("digits:test", "gone:test"))  # a folder that is no longer there
    ended = vitscope("report", str(run), "--json")
    assert ended.code == 0
    assert ended.json["runs"][0]["evaluation"]["total"]["images"] > 0  # read from the run
    assert ended.json["runs"][0]["mistakes"] == []
    assert "No pictures" in shown(run / "report.html")


def test_names_are_shown_letter_by_letter(vitscope: Command, run: Path, tmp_path: Path) -> None:
    strange = tmp_path / "<b>run & co</b>"
    shutil.copytree(run, strange)
    vitscope("report", str(strange), "--out", str(tmp_path / "page.html"))
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<b>run & co</b>" not in html
    assert "&lt;b&gt;run &amp; co&lt;/b&gt;" in html


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing-there"], "nothing-there"),
        (["{run}", "--out", "{run}"], "is a folder"),
        (["{run}", "--out", "page.pdf"], ".html"),
    ],
)
def test_wrong_words_get_one_sentence(vitscope: Command, run: Path, words: list[str], said: str) -> None:
    assert said in vitscope("report", *(word.format(run=run) for word in words)).sentence


def test_a_run_without_weights_gets_one_sentence(vitscope: Command, run: Path) -> None:
    (run / "model.safetensors").write_bytes(b"nothing")
    assert "model.safetensors" in vitscope("report", str(run)).sentence
    assert not (run / "report.html").exists()
