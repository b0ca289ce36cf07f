"""`vitscope curve`: which reference judges which run, where the picture goes, what is said and printed, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_samples import Command

from vitscope._core import pictures
from vitscope.curves import load_reference, references
from vitscope.recipes.load import dump_recipe, load_recipe
from vitscope.runs import EpochMetrics, write_metrics

pytestmark = pytest.mark.e2e  # whole commands

PUBLISHED = load_reference("vit_patch4_cifar10_200ep")


def reference(path: Path, *accuracies: float) -> Path:
    path.write_text("epoch,val_acc\n" + "".join(f"{i},{a}\n" for i, a in enumerate(accuracies, start=1)))
    return path


def test_curve_draws_and_ends_with_1_below(
    vitscope: Command, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (run / "curve.png").unlink()
    assert vitscope("curve", run).code == 0
    assert (run / "curve.png").read_bytes().startswith(b"\x89PNG")
    low, high = reference(tmp_path / "low.csv", 2.0, 2.0), reference(tmp_path / "high.csv", 99.0, 99.9)
    assert vitscope("curve", run, "--reference", low).code == 0
    below = vitscope("curve", run, "--reference", high, "--out", tmp_path / "x" / "p.png", "--json")
    assert below.code == 1
    assert below.json["picture"] == str(tmp_path / "x" / "p.png")
    assert (tmp_path / "x" / "p.svg").exists()
    text = vitscope("curve", run, "--reference", high)
    assert text.code == 1
    assert "below" in text.out
    assert vitscope("curve", run, "--reference", "none").code == 0
    both = vitscope("curve", run, run / "metrics.csv", "--reference", "none", "--json")
    assert len(both.json["runs"]) == 2
    assert (tmp_path / "curve.png").exists()
    typo = vitscope("curve", run, "--reference", "vit_patch4_cifar10_20ep").sentence
    assert "(did you mean 'vit_patch4_cifar10_200ep'?)" in typo


def test_curve_says_why_its_picture_is_english(vitscope: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "JAPANESE_FONTS", ())
    assert "図の文字は英語です" in vitscope("curve", run, "--lang", "ja").err
    assert "fonts-noto-cjk" not in vitscope("curve", run).err


def test_a_metrics_file_is_named_after_its_folder(vitscope: Command, run: Path, tmp_path: Path) -> None:
    ended = vitscope("curve", run / "metrics.csv", "--out", tmp_path / "p.png")
    assert ended.out.splitlines()[0] == run.name


def test_curve_of_a_run_without_an_epoch(vitscope: Command, run: Path) -> None:
    (run / "metrics.csv").unlink()
    assert vitscope("curve", run, "--reference", "none").sentence.endswith("has the run finished its first epoch?")


def on_cifar10(folder: Path, *, lift: float = 0.0, epochs: int = 4, follows: str = PUBLISHED.name) -> Path:
    """What `curve` reads of a run on CIFAR-10, `lift` points above the reference."""
    folder.mkdir()
    recipe = load_recipe("good-vit-cifar10", changes=[f"reference={follows}"])
    (folder / "recipe.yaml").write_text(dump_recipe(recipe), encoding="utf-8")
    data = {"label_names": list(PUBLISHED.labels), "val_images": 10_000}
    (folder / "environment.json").write_text(json.dumps({"data": data}))
    rows = [EpochMetrics(r.epoch, r.epoch, 1.0, 2.0, 30.0, 2.0, r.val_acc + lift, 1e-3, 1.0) for r in PUBLISHED.rows]
    write_metrics(folder / "metrics.csv", rows[:epochs])
    return folder


def test_each_run_is_held_against_its_own_reference(vitscope: Command, run: Path, tmp_path: Path) -> None:
    cifar10 = on_cifar10(tmp_path / "cifar10")
    for order in ((run, cifar10), (cifar10, run)):
        ended = vitscope("curve", *order, "--out", tmp_path / "p.png", "--json")
        assert ended.code == 0, ended
        standings = {Path(part["run"]).name: (part["reference"], part["standing"]) for part in ended.json["runs"]}
        assert standings == {"cifar10": (PUBLISHED.name, "within"), "run": (None, "unknown")}
        assert ended.json["reference"] == PUBLISHED.name
    text = vitscope("curve", run, cifar10, "--out", tmp_path / "p.png").out
    assert "there is no reference to hold the run against" in text
    assert "no band" not in (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert vitscope("curve", run, cifar10, "--reference", PUBLISHED.name, "--out", tmp_path / "p.png").code == 1


def test_runs_with_different_references_share_no_band(vitscope: Command, tmp_path: Path) -> None:
    low = reference(tmp_path / "low.csv", 10.0, 10.0, 10.0, 10.0)
    one, other = on_cifar10(tmp_path / "one", lift=-9), on_cifar10(tmp_path / "other", lift=-9, follows=str(low))
    ended = vitscope("curve", one, other, "--out", tmp_path / "p.png", "--json")
    assert ended.code == 1
    assert [part["standing"] for part in ended.json["runs"]] == ["below", "ahead"]
    assert ended.json["reference"] is None
    assert [one["name"] for one in ended.json["references"]] == [PUBLISHED.name, "low"]
    assert "no band: the runs have different references" in (tmp_path / "p.svg").read_text(encoding="utf-8")
    text = vitscope("curve", one, other, "--out", tmp_path / "p.png")
    assert "the runs have different references: each is held against its own" in text.err
    assert f"reference of one: {PUBLISHED.name}" in text.out
    assert f"reference of other: low, from {low}" in text.out
    same = vitscope("curve", one, other, "--reference", PUBLISHED.name, "--out", tmp_path / "p.png", "--json")
    assert [part["standing"] for part in same.json["runs"]] == ["below", "below"]


def test_a_runs_metrics_file_finds_the_runs_reference(vitscope: Command, tmp_path: Path) -> None:
    folder = on_cifar10(tmp_path / "cifar10", lift=-9)
    ended = vitscope("curve", folder / "metrics.csv", "--out", tmp_path / "p.png", "--json")
    assert (ended.code, ended.json["reference"]) == (1, PUBLISHED.name)
    assert (folder / "metrics.csv").rename(tmp_path / "metrics.csv")
    assert vitscope("curve", tmp_path / "metrics.csv", "--out", tmp_path / "p.png").code == 0


def test_the_facts_of_a_reference_are_said(vitscope: Command, tmp_path: Path) -> None:
    folder = on_cifar10(tmp_path / "cifar10")
    english, japanese = vitscope("curve", folder), vitscope("curve", folder, "--lang", "ja")
    assert english.out.splitlines()[-1] == f"reference: {PUBLISHED.name} (CIFAR-10, 1 seed), from {PUBLISHED.source}"
    assert japanese.out.splitlines()[-1] == f"基準: {PUBLISHED.name}（CIFAR-10、シード 1 個）、出典: {PUBLISHED.source}"
    assert vitscope("curve", folder, "--json").json["references"] == [PUBLISHED.to_dict()]
    assert vitscope("curve", folder, "--reference", "none").out.count("reference:") == 0


def test_the_help_names_every_reference(vitscope: Command) -> None:
    help_ = "".join(vitscope("curve", "--help").out.replace("│", "").split())
    assert all(f"Areferencecurve({name})" in help_ for name in references())


@pytest.mark.parametrize(
    ("given", "written"),
    [("p", "p"), ("p.png", "p"), ("p.svg", "p"), ("p.SVG", "p"), ("new/p.png", "new/p"), (".", "curve")],
)
def test_both_pictures_are_what_their_names_say(
    vitscope: Command, run: Path, tmp_path: Path, given: str, written: str
) -> None:
    out = tmp_path / "pictures"
    out.mkdir()
    ended = vitscope("curve", run, "--out", out / given, "--json")
    assert ended.code == 0, ended
    png, svg = out / f"{written}.png", out / f"{written}.svg"
    assert {file for file in out.rglob("*") if file.is_file()} == {png, svg}
    assert ended.json["picture"] == str(png)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert svg.read_text(encoding="utf-8").startswith("<?xml")


@pytest.mark.parametrize("ending", [".pdf", ".jpg", ".v2"])
def test_no_other_kind_of_picture(vitscope: Command, run: Path, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"p{ending}"
    assert vitscope("curve", run, "--out", out).sentence == (
        f"--out {out} ends in {ending}, but pictures are written as PNG and SVG; let it end in .png or .svg"
    )
    assert not out.exists()


def test_a_diverged_run_ends_with_1(vitscope: Command, tmp_path: Path) -> None:
    file = tmp_path / "theirs.csv"
    file.write_text("epoch,val_loss,val_acc\n1,1.0,90\n2,1.0,90\n3,nan,nan\n")
    ended = vitscope("curve", file, "--reference", PUBLISHED.name, "--out", tmp_path / "p.png", "--json")
    assert (ended.code, ended.json["runs"][0]["standing"]) == (1, "diverged")
    for reference in (PUBLISHED.name, "none"):
        text = vitscope("curve", file, "--reference", reference, "--out", tmp_path / "p.png")
        assert text.code == 1
        assert text.out.splitlines()[1].startswith("  diverged at epoch 3; ")


def test_runs_of_one_name_have_the_same_labels_everywhere(vitscope: Command, run: Path, tmp_path: Path) -> None:
    own = tmp_path / "other" / run.name
    own.mkdir(parents=True)
    (own / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
    words = ("curve", run, own, "--reference", "none", "--out", tmp_path / "p.png")
    labels = [f"{run.name} (1)", f"{run.name} (2)"]
    text = vitscope(*words).out.splitlines()
    assert [line for line in text if not line.startswith(" ")] == labels
    assert [part["name"] for part in vitscope(*words, "--json").json["runs"]] == labels
    picture = (tmp_path / "p.svg").read_text(encoding="utf-8")
    assert all(f">{label}</text>" in picture for label in labels)


def test_what_was_found_is_shown_also_where_no_picture_can_be_written(
    vitscope: Command, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    picture = tmp_path / "file" / "p.png"
    text = vitscope("curve", run, "--reference", "none", "--out", picture)
    assert text.code == 2
    assert "there is no reference to hold the run against" in text.out
    assert "picture: " not in text.err
    assert text.err.startswith(f"vitscope: cannot write {picture}: ")
    assert text.err.endswith("choose another place with --out\n")
    as_json = vitscope("curve", run, "--reference", "none", "--out", picture, "--json")
    assert (as_json.code, as_json.json["picture"], len(as_json.json["runs"])) == (2, None, 1)
