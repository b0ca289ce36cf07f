"""`vitscope report`: the page of a run and of two beside each other, what it says, and what it does with a run that is not whole."""

from __future__ import annotations

import csv
import json
import math
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from cli_samples import TINY, Command
from PIL import Image

from vitscope.recipes.measure import read_results
from vitscope.report.judging import pictures
from vitscope.runs import RunFolder

pytestmark = pytest.mark.e2e  # whole commands

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


@pytest.fixture(autouse=True)
def _few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "mistakes" not in request.node.name:
        monkeypatch.setattr(pictures, "SHOWN", 2)


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


def test_what_is_missing_is_measured_again(vitscope: Command, run: Path) -> None:
    before = json.loads((run / "evaluation.json").read_text())
    (run / "predictions.csv").unlink()
    (after,) = vitscope("report", str(run), "--json").json["runs"]
    assert after["evaluation"]["total"] == before["total"]
    assert after["evaluation"]["loss"] == pytest.approx(before["loss"])
    assert after["mistakes"]


@pytest.mark.parametrize("name", ["evaluation.json", "predictions.csv"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_what_is_missing_or_damaged_does_not_count(run: Path, name: str, damage: str) -> None:
    assert read_results(RunFolder.open(run)) is not None
    file = run / name
    content = file.read_text()
    match damage:
        case "missing":
            file.unlink()
        case "cut":
            file.write_text(content[: len(content) // 2])
        case _:
            file.write_text("{}\n" if name.endswith("json") else content.replace(",1,", ",0,", 1))
    assert read_results(RunFolder.open(run)) is None


def edited(file: Path, **parts: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **parts}))


@pytest.mark.parametrize(
    "told",
    [
        {"loss": 0.01},
        {"loss": math.nan},
        {"label_names": list("abcdefghij")},
        {"calibration_error": 0.5},
        {"bins": []},
        {"bins": [{"low": 0, "high": 1, "images": "many", "confidence": 0.5, "accuracy": 0.5}]},
        {"total": {"right": 9, "images": 9, "accuracy": 100.0, "low": "<b>", "high": None}},
    ],
)
def test_an_evaluation_counts_only_where_the_predictions_bear_it_out(run: Path, told: dict[str, Any]) -> None:
    found = read_results(RunFolder.open(run))
    assert found is not None
    edited(run / "evaluation.json", **told)
    after = read_results(RunFolder.open(run))
    assert after is None or after[1] == found[1]  # what follows from the predictions is not taken from the file


def test_an_evaluation_is_no_json_at_any_depth(run: Path) -> None:
    (run / "evaluation.json").write_text("[" * 100_000)
    assert read_results(RunFolder.open(run)) is None


@pytest.mark.parametrize("change", ["labels", "one image for all", "nan"])
def test_predictions_that_cannot_be_do_not_count(run: Path, change: str) -> None:
    file = run / "predictions.csv"
    text = file.read_text()
    match change:
        case "labels":
            text = text.replace(",7,", ",bird,")
        case "one image for all":
            text = re.sub(r"digits:test:\d+", "digits:test:5", text)
        case _:
            text = re.sub(r"0\.\d{6}", "nan", text)
    file.write_text(text)
    assert read_results(RunFolder.open(run)) is None


def test_a_class_without_validation_images_has_no_accuracy(vitscope: Command, tmp_path: Path) -> None:
    for name, count in (("cat", 10), ("dog", 10), ("eel", 1)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(count):
            colour = {"cat": number, "dog": 200 + number, "eel": 99}[name]
            Image.new("L", (16, 16), colour).save(tmp_path / "photos" / name / f"{number}.png")
    run = tmp_path / "run"
    tiny = [word.replace("data.limit=200", "data.limit=21").replace("batch_size=50", "batch_size=4") for word in TINY]
    ended = vitscope("train", "quickstart", "--data", str(tmp_path / "photos"), *tiny, "--out", str(run))
    assert ended.code == 0, ended.err
    assert json.loads((run / "evaluation.json").read_text())["per_class"][2]["accuracy"] is None
    (seen,) = vitscope("report", str(run), "--json").json["runs"]
    assert seen["evaluation"]["per_class"][2]["images"] == 0
    assert seen["evaluation"]["per_class"][2]["accuracy"] is None
    assert re.search(r"eel\s+–\s+–\s+–", shown(run / "report.html"))


def test_runs_with_other_classes_are_in_a_table_of_their_own(vitscope: Command, run: Path, tmp_path: Path) -> None:
    other, third = tmp_path / "other", tmp_path / "third"
    shutil.copytree(run, other)
    shutil.copytree(run, third)
    letters = dict(zip("0123456789", "abcdefghij", strict=True))
    for name in ("config.json", "evaluation.json"):
        edited(other / name, label_names=list(letters.values()))
    with (other / "predictions.csv").open(newline="") as handle:
        head, *rows = list(csv.reader(handle))
    with (other / "predictions.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([head, *([r[0], letters[r[1]], letters[r[2]], *r[3:]] for r in rows)])
    page = tmp_path / "page.html"
    assert vitscope("report", str(run), str(other), str(third), "--out", str(page)).code == 0
    html = page.read_text(encoding="utf-8")
    tables = re.findall(r"<table>.*?</table>", html.partition('id="classes"')[2].partition("</section>")[0], flags=re.S)
    assert [re.findall(r'colspan="3">(\w+)<', table) for table in tables] == [["run", "third"], ["other"]]
    assert [len(re.findall(r'<td class="n">', table)) for table in tables] == [20, 10]
    pictures = html.partition('id="pictures"')[2].partition("</section>")[0].split("<h3>")
    assert ["given alone" in part for part in pictures] == [False, False, True, False]  # its images have other labels


def test_what_a_recipe_reached_is_said_of_that_recipe_only(vitscope: Command, run: Path) -> None:
    vitscope("report", str(run))
    assert "was measured to reach" not in shown(run / "report.html")  # of another size and length
    from vitscope.recipes.load import load_recipe, model_spec
    from vitscope.report.judging.page import expected

    recipe = load_recipe("quickstart")
    spec = recipe.changed(model={"classes": 10, "channels": 1, **recipe.model})
    other_seed = spec.changed(train={**spec.train.to_dict(), "seed": 5})
    other_rate = spec.changed(train={**spec.train.to_dict(), "lr": 0.5})
    said = [str(expected(each, model_spec(spec))) for each in (spec, other_seed, other_rate)]
    assert ["99.17 % after 80 epochs" in each for each in said] == [True, True, False]


@pytest.mark.parametrize(
    "told",
    [
        {"command": None, "packages": "x", "memory_bytes": "8 GiB", "accelerators": 5},
        {"command": "vitscope train x", "data": [], "packages": [1]},
        {"command": ["vitscope", "train", "<script>alert(1)</script>"]},
    ],
)
def test_an_odd_environment_is_no_fault(vitscope: Command, run: Path, told: dict[str, Any]) -> None:
    edited(run / "environment.json", **told)
    assert vitscope("report", str(run)).code == 0
    assert "<script>alert" not in (run / "report.html").read_text(encoding="utf-8")


def test_a_run_of_another_program_is_said_to_be_one(vitscope: Command, run: Path) -> None:
    edited(run / "environment.json", command=["mine.py", "--lr", "1"])
    (seen,) = vitscope("report", str(run), "--json").json["runs"]
    assert "started by mine.py" in seen["notes"][0]["en"]
    assert len(seen["commands"]) == 1


def test_without_its_recipe_a_run_is_not_brought_about_again(vitscope: Command, run: Path) -> None:
    (run / "recipe.yaml").unlink()
    edited(run / "environment.json", command=None)
    (seen,) = vitscope("report", str(run), "--json").json["runs"]
    assert seen["evaluation"]["total"]["images"] > 0
    assert seen["commands"] == []
    assert "has no recipe.yaml" in shown(run / "report.html")
    (run / "predictions.csv").unlink()
    (seen,) = vitscope("report", str(run), "--json").json["runs"]
    assert seen["evaluation"] is None
    assert "Not measured" in seen["notes"][0]["en"]


def test_the_printed_command_brings_the_run_about_again(
    vitscope: Command, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run)
    (command,) = vitscope("report", ".", "--json").json["runs"][0]["commands"][-1:]
    assert vitscope(*shlex.split(command)[1:]).code == 0
    timed = ("seconds", "images_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader((path / "metrics.csv").open())]
        for path in (run, run.parent / "run-again")
    ]
    assert rows[0] == rows[1]


def test_metrics_that_say_little_are_enough(vitscope: Command, run: Path) -> None:
    (run / "metrics.csv").write_text("epoch,val_acc\n1,50\n")
    (seen,) = vitscope("report", str(run), "--json").json["runs"]
    assert seen["seconds"] is None
    assert "ends at epoch 1" in seen["notes"][-1]["en"]


def test_weights_of_another_run_show_in_the_pictures(vitscope: Command, run: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(run / "model.safetensors")
    save_file({name: -each for name, each in weights.items()}, run / "model.safetensors")
    assert vitscope("report", str(run)).code == 0
    assert "given alone" in shown(run / "report.html")
    assert 'alt="looked at"' not in (run / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("batch-mixing", "look at no patch"),
        ("dropout-always-on", "given alone"),
        ("no-residual", "No attention beside the pictures"),
        ("scrambled-patches", "No attention beside the pictures"),
    ],
)
def test_a_faulty_model_gets_a_page_that_claims_no_more_than_it_shows(
    vitscope: Command, tmp_path: Path, fault: str, said: str
) -> None:
    (tmp_path / "bad.yaml").write_text(
        f"model: {{name: bad-vit, fault: {fault}, image_size: 8, patch_size: 2, dim: 16, depth: 2, heads: 2, mlp_dim: 32, dropout: 0.3}}\n"
        "data: {source: digits, limit: 200}\ntrain: {duration: 1ep, batch_size: 50, device: cpu, lr: 0.05}\n"
    )
    run = tmp_path / "run"
    assert vitscope("train", str(tmp_path / "bad.yaml"), "--out", str(run)).code == 0
    assert vitscope("report", str(run)).code == 0
    words = shown(run / "report.html")
    assert said in words
    assert "One colour scale" not in words


def test_an_unfinished_run_is_said_to_be_one(vitscope: Command, run: Path) -> None:
    RunFolder.open(run).write_state("interrupted", 2)
    ended = vitscope("report", str(run), "--json")
    assert ended.json["runs"][0]["finished"] is False
    assert "not finished" in shown(run / "report.html")


def test_without_its_data_the_page_says_so(vitscope: Command, run: Path) -> None:
    predictions = run / "predictions.csv"
    predictions.write_text(
        predictions.read_text().replace("digits:test", "gone:test")
    )  # a folder that is no longer there
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
