"""train, eval, predict, curve on a tiny run, end to end: what they print, write, refuse and end with."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cli_samples import TINY, Command
from PIL import Image
from rich.console import Console

from vitscope._core.text import Lang, Text
from vitscope.cli import measure, screen
from vitscope.cli.live import TrainingScreen
from vitscope.curves import ReferenceCurve
from vitscope.runs import EpochMetrics, RunFolder, read_metrics, write_metrics
from vitscope.train import session
from vitscope.train.events import EpochEnded, StepEnded

pytestmark = pytest.mark.e2e  # whole commands

SOURCES = str(Path(__file__).parents[2] / "src")


def test_a_run_holds_its_curve_metrics_and_predictions(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert {
        "recipe.yaml", "environment.json", "metrics.csv", "model.safetensors", "config.json", "checkpoint",
        "curve.png", "curve.svg", "predictions.csv", "evaluation.json", "state.json",
    } <= names  # fmt: skip
    assert not [name for name in names if name.endswith(".part")]
    assert finished.joinpath("metrics.csv").read_text().splitlines()[0] == (
        "epoch,step,seconds,train_loss,train_acc,val_loss,val_acc,lr,images_per_second"
    )
    rows = read_metrics(finished / "metrics.csv")
    assert [(row.epoch, row.step) for row in rows] == [(1, 4), (2, 8)]
    with (finished / "predictions.csv").open() as handle:
        predictions = list(csv.DictReader(handle))
    assert len(predictions) == 360
    right = sum(int(p["right"]) for p in predictions)
    evaluation = json.loads((finished / "evaluation.json").read_text())
    assert evaluation["total"]["right"] == right
    assert evaluation["total"]["accuracy"] == pytest.approx(rows[-1].val_acc)


def test_train_tells_groups_and_epochs_on_standard_error(vitscope: Command, tmp_path: Path) -> None:
    ended = vitscope("train", *TINY, "--out", tmp_path / "a")
    assert ended.code == 0
    assert ended.out == ""
    assert "" not in ended.err.splitlines()  # where a bar would have been
    for words in (
        "quickstart: 200 training and 360",
        "weight decay 0.05, Muon",
        "epoch 1: ",
        "epoch 2: ",
        "images/s",
        "Run folder: ",
    ):
        assert words in ended.err
    japanese = vitscope("train", *TINY, "--set", "train.duration=1ep", "--out", tmp_path / "b", "--lang", "ja")
    for words in ("学習画像 200 枚", "重み減衰", "結果のフォルダ"):
        assert words in japanese.err


def test_train_json_is_one_document(vitscope: Command, tmp_path: Path) -> None:
    ended = vitscope("train", *TINY, "--out", tmp_path / "a", "--json")
    assert ended.code == 0
    value = ended.json
    assert value["state"] == {"status": "finished", "epochs": 2}
    assert [row["epoch"] for row in value["metrics"]] == [1, 2]


def test_without_out_a_run_goes_to_runs(vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert vitscope("train", *TINY, "--set", "train.duration=1st").code == 0
    (only,) = (tmp_path / "runs").iterdir()
    assert only.name.startswith("quickstart-20")


def test_a_second_start_is_refused_and_resume_of_a_finished_run_does_nothing(vitscope: Command, run: Path) -> None:
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    assert vitscope("train", *TINY, "--out", run).sentence == (
        f"{run} already holds a run (finished, 2 epochs); add --resume to continue it or choose another --out"
    )
    ended = vitscope("train", "--resume", "--out", run)
    assert ended.code == 0
    assert f"{run} is finished; nothing to do" in ended.err
    assert vitscope("train", "--resume", "--out", run, "--json").json["state"]["status"] == "finished"
    assert {p: p.read_bytes() for p in before} == before


def test_resume_may_be_added_to_the_words_of_the_start(vitscope: Command, run: Path) -> None:
    ended = vitscope("train", "quickstart", *TINY, "--out", run, "--resume")
    assert ended.code == 0
    assert f"{run} is finished; nothing to do" in ended.err
    for other in (["--set", "train.lr=0.5"], ["--set", "data.limit=100"], ["--set", "train.checkpoint_every=3st"]):
        assert vitscope("train", "quickstart", *TINY, *other, "--out", run, "--resume").sentence == (
            "--resume goes on with the run's own recipe, which is another than the one asked for; "
            "leave out RECIPE, --data and --set, or start a new run"
        )
    assert "--resume goes on" in vitscope("train", "--data", "cifar10", "--out", run, "--resume").sentence


def test_a_second_epoch_under_the_band_is_below_while_training_too(vitscope: Command, tmp_path: Path) -> None:
    high = tmp_path / "high.csv"
    high.write_text("epoch,val_acc\n1,99\n2,99\n")
    words = ["train", *TINY, "--set", f"reference={high}"]
    ended = vitscope(*words, "--out", tmp_path / "a")
    first, second = [line for line in ended.err.splitlines() if "images/s" in line]
    assert ", behind   [" in first
    assert ", below   [" in second
    japanese = vitscope(*words, "--set", "augment.flip=true", "--lang", "ja", "--out", tmp_path / "b").err
    assert "、帯を下回る（1 エポック目）   [" in japanese
    assert "、2 エポック以上続けて帯を下回る   [" in japanese
    assert "データ拡張: 拡大縮小つきランダムクロップ（面積の 60%〜100%）、左右反転（確率 0.5）、正規化" in japanese
    assert "、重み減衰 0.05、Muon" in japanese


def test_the_first_epoch_after_a_resume_knows_those_before(tmp_path: Path) -> None:
    rows = [EpochMetrics(epoch, epoch, 60.0, 2.0, 30.0, 2.0, 30.0, 1e-3, 100.0) for epoch in (1, 2)]
    write_metrics(tmp_path / "metrics.csv", rows[:1])
    high = ReferenceCurve("high", tuple(replace(row, val_acc=90.0) for row in rows), Text("", ""), "")
    prepared: Any = SimpleNamespace(reference=high, folder=RunFolder(tmp_path))
    shown = io.StringIO()
    TrainingScreen(prepared, "en", Console(file=shown, width=200)).end_epoch(EpochEnded(rows[1]))
    assert shown.getvalue().startswith("epoch 2: 30.0 %, reference 90.0 % ± 2.0, below ")


def test_resume_makes_what_a_kill_after_the_last_epoch_left_out(vitscope: Command, finished: Path, run: Path) -> None:
    for name in ("evaluation.json", "predictions.csv", "curve.svg"):
        (run / name).unlink()
    ended = vitscope("train", "--resume", "--out", run)
    assert ended.code == 0
    assert (
        f"{run} has trained to its end but lacks curve.svg, evaluation.json, predictions.csv; making them" in ended.err
    )
    assert_same_run(run, finished)
    assert (run / "curve.svg").exists()
    assert (run / "evaluation.json").read_bytes() == (finished / "evaluation.json").read_bytes()


def spoil(file: Path, how: str) -> None:
    match how:
        case "gone":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])


@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
@pytest.mark.parametrize("name", ["model.safetensors", "metrics.csv", "config.json", "environment.json"])
def test_resume_makes_again_what_a_finished_run_lost(
    vitscope: Command, finished: Path, run: Path, name: str, how: str
) -> None:
    spoil(run / name, how)
    ended = vitscope("train", "--resume", "--out", run)
    assert ended.code == 0, ended
    assert f"{run}: {name} missing or damaged; making them again" in ended.err
    assert_same_run(run, finished)
    assert (run / "config.json").read_bytes() == (finished / "config.json").read_bytes()
    assert (run / "evaluation.json").read_bytes() == (finished / "evaluation.json").read_bytes()
    assert vitscope("eval", run).code == 0
    assert "nothing to do" in vitscope("train", "--resume", "--out", run).err


def test_resume_makes_a_damaged_run_again_at_once_and_in_japanese(vitscope: Command, finished: Path, run: Path) -> None:
    for name in ("model.safetensors", "metrics.csv", "config.json", "evaluation.json", "predictions.csv"):
        spoil(run / name, "empty")
    ended = vitscope("train", "--resume", "--out", run, "--lang", "ja")
    assert ended.code == 0, ended
    assert f"{run} の config.json, metrics.csv, model.safetensors がないか壊れているため、作り直します" in ended.err
    assert_same_run(run, finished)
    assert (run / "evaluation.json").read_bytes() == (finished / "evaluation.json").read_bytes()


def test_the_running_mean_is_made_again_where_it_is_the_result(vitscope: Command, tmp_path: Path) -> None:
    assert vitscope("train", *TINY, "--set", "train.ema=0.9", "--out", tmp_path / "a").code == 0
    weights = tmp_path / "a" / "model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    assert vitscope("train", "--resume", "--out", tmp_path / "a").code == 0
    assert weights.read_bytes() == before


@pytest.mark.parametrize("how", ["gone", "empty", "cut"])
def test_what_the_checkpoint_cannot_give_is_said(vitscope: Command, run: Path, how: str) -> None:
    state = run / "checkpoint" / "state.pt"
    spoil(state, how)
    assert vitscope("train", "--resume", "--out", run).code == 0  # nothing is needed of it
    (run / "model.safetensors").unlink()
    ended = vitscope("train", "--resume", "--out", run)
    assert ended.code == 2
    last = ended.err.splitlines()[-1]
    if how == "gone":
        assert last == (
            f"vitscope: {state} does not exist, from which model.safetensors could be made again; "
            "put a copy of either back, or train again with another --out"
        )
    else:
        assert last.startswith(f"vitscope: {state} is not a whole vitscope checkpoint (damaged); put a copy of it back")
    assert not (run / "model.safetensors").exists()


def test_an_older_checkpoint_is_not_held_for_the_finished_runs(vitscope: Command, run: Path) -> None:
    RunFolder(run).write_state("finished", 3)
    ended = vitscope("train", "--resume", "--out", run)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == (
        f"vitscope: {run / 'checkpoint' / 'state.pt'} is of epoch 2, but the run ended with epoch 3; "
        f"put the newer one back, or delete {run / 'state.json'} to train on from there"
    )


def test_an_interrupted_run_goes_on_to_the_same_numbers(
    vitscope: Command, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell = session.Session.tell

    def interrupting(self: session.Session, event: object) -> None:
        tell(self, event)  # type: ignore[arg-type]
        if isinstance(event, StepEnded) and event.step == 6:
            os.kill(os.getpid(), signal.SIGTERM)

    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(session.Session, "tell", interrupting)
        ended = vitscope("train", *TINY, "--out", out)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == (
        f"vitscope: stopped at step 6 of 8, saved; go on with: vitscope train --resume --out {out}"
    )
    assert RunFolder(out).state().to_dict() == {"status": "interrupted", "epochs": 1}
    ended = vitscope("train", "--resume", "--out", out)
    assert ended.code == 0
    assert "resumed at step 6 of 8" in ended.err
    assert_same_run(out, finished)


def assert_same_run(one: Path, other: Path) -> None:
    def rows(path: Path) -> list[tuple[float, ...]]:
        held = read_metrics(path / "metrics.csv")
        return [(r.epoch, r.step, r.train_loss, r.train_acc, r.val_loss, r.val_acc, r.lr) for r in held]

    assert rows(one) == rows(other)
    assert (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()
    assert (one / "predictions.csv").read_bytes() == (other / "predictions.csv").read_bytes()


def test_a_diverging_training_ends_with_2_and_a_sentence(vitscope: Command, tmp_path: Path) -> None:
    words = [
        "--set",
        "train.optimizer=sgd",
        "--set",
        "train.lr=1e30",
        "--set",
        "train.schedule=constant",
        "--set",
        "train.ema=null",
    ]
    ended = vitscope("train", *TINY, *words, "--set", "train.warmup=0st", "--out", tmp_path / "a")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("vitscope: the ")
    for word in (" at step ", "learning rate 1e+30", "gradient norm", "lower train.lr"):
        assert word in last
    assert RunFolder(tmp_path / "a").state().status == "failed"


def test_a_full_or_unwritable_folder_is_refused(
    vitscope: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "run"
    assert vitscope("train", *TINY, "--out", inside).sentence.startswith(f"cannot write to {inside}: ")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "out"
    assert vitscope("train", *TINY, "--out", out).sentence == (
        f"cannot write to {out}: No space left on device; free some space or choose another --out"
    )


def test_a_checkpoint_of_another_recipe_is_refused(vitscope: Command, run: Path) -> None:
    recipe = run / "recipe.yaml"
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("duration: 2ep", "duration: 3ep"), encoding="utf-8")
    RunFolder(run).write_state("interrupted", 1)
    ended = vitscope("train", "--resume", "--out", run)
    assert ended.code == 2
    assert ended.err.splitlines()[-1] == (
        f"vitscope: {run / 'checkpoint' / 'state.pt'} belongs to another recipe than this run's; "
        "put the recipe back or choose a new --out"
    )


@pytest.mark.parametrize("damage", ["truncated", "empty", "another's"])
def test_a_refused_resume_leaves_the_results(vitscope: Command, run: Path, damage: str) -> None:
    state = run / "checkpoint" / "state.pt"
    whole = state.read_bytes()
    if damage == "another's":
        recipe = run / "recipe.yaml"
        recipe.write_text(recipe.read_text(encoding="utf-8").replace("duration: 2ep", "duration: 3ep"), "utf-8")
    else:
        state.write_bytes(whole[: len(whole) // 2 if damage == "truncated" else 0])
    RunFolder(run).write_state("interrupted", 1)
    before = {p: p.read_bytes() for p in run.glob("[!.]*.*")}
    assert vitscope("train", "--resume", "--out", run).code == 2
    assert {p: p.read_bytes() for p in run.glob("[!.]*.*")} == before


def test_eval_measures_and_writes(vitscope: Command, run: Path) -> None:
    (run / "evaluation.json").unlink()
    ended = vitscope("eval", run)
    assert ended.code == 0
    assert "95 % interval" in ended.out
    assert "confusion" in ended.out
    assert "measured on" in ended.err
    held = json.loads((run / "evaluation.json").read_text())
    value = vitscope("eval", run, "--json").json
    assert value["total"] == held["total"]
    assert value["total"]["low"] < value["total"]["accuracy"] < value["total"]["high"]
    assert len(value["confusion"]) == len(value["per_class"]) == 10
    assert value["total"]["accuracy"] == pytest.approx(read_metrics(run / "metrics.csv")[-1].val_acc)
    assert "正解率" in vitscope("eval", run, "--lang", "ja").out


def test_eval_shows_what_it_measured_also_where_it_cannot_be_written(vitscope: Command, run: Path) -> None:
    file = run / "evaluation.json"
    file.unlink()
    file.mkdir()
    text = vitscope("eval", run)
    assert text.code == 2
    assert "95 % interval" in text.out
    last = text.err.splitlines()[-1]
    assert last.startswith(f"vitscope: cannot write {file}: ")
    assert "--out" not in last
    as_json = vitscope("eval", run, "--json")
    assert (as_json.code, as_json.json["total"]["images"]) == (2, 360)


def test_eval_says_what_it_waits_for(vitscope: Command, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    @contextmanager
    def noted(lang: Lang, doing: Text = screen.READING) -> Iterator[None]:
        told.append(doing[lang])
        yield None

    monkeypatch.setattr(measure, "image_progress", noted)
    assert vitscope("eval", run).code == 0
    assert vitscope("eval", run, "--lang", "ja").code == 0
    assert told == ["reading images", "measuring", "画像を読み込み中", "評価中"]


def test_names_like_markup_reach_the_screen(vitscope: Command, finished: Path, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "q[/bold]")
    for name in ("cat[copy].png", "a:smile:b.png"):
        shutil.copy(folder / "a.png", folder / name)
        assert f"q[/bold]/{name}" in vitscope("predict", finished, folder / name).out
    assert "q[/bold]" in vitscope("predict", finished, folder).out
    own = shutil.copytree(finished, folder / "[red]run")
    assert "q[/bold]/[red]run" in vitscope("explain", own).out
    assert "[red]run" in vitscope("curve", own).out


def test_eval_elsewhere_does_not_overwrite_the_runs_own(vitscope: Command, run: Path) -> None:
    before = (run / "evaluation.json").read_bytes()
    assert (
        vitscope("eval", run, "--split", "train", "--json").json["total"]["images"] == 1437
    )  # whole, whatever the run's limit
    assert (run / "evaluation.json").read_bytes() == before


def pictures(folder: Path) -> Path:
    """A folder with a good picture, a greyscale one deeper inside, and a text file."""
    (folder / "deeper").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 256, (20, 13, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "a.png")
    Image.fromarray(noise[:, :, 0]).save(folder / "deeper" / "b.jpg")
    (folder / "notes.txt").write_text("no image")
    return folder


def test_predict_takes_items_files_folders_and_standard_input(
    vitscope: Command, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = pictures(tmp_path / "pictures")
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO((folder / "a.png").read_bytes())))
    ended = vitscope("predict", finished, "digits:17", "digits:test:3", folder / "a.png", folder, "-", "--json")
    assert ended.code == 0
    held = ended.json["predictions"]
    names = [p["image"] for p in held]
    assert names == [
        "digits:17",
        "digits:test:3",
        f"{folder}/a.png",
        f"{folder}/a.png",
        f"{folder}/deeper/b.jpg",
        "standard input",
    ]
    for prediction in held:
        probabilities = [t["probability"] for t in prediction["top"]]
        assert len(probabilities) == 5
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0 < sum(probabilities) <= 1 + 1e-6
    assert held[0]["label"] is not None
    assert held[2]["label"] is None
    assert held[2]["top"] == held[3]["top"] == held[5]["top"]
    assert ended.json["failed"] == []
    text = vitscope("predict", finished, "digits:17")
    assert text.code == 0
    assert text.out.count("%") == 5


def test_predict_agrees_with_predictions_csv(vitscope: Command, finished: Path) -> None:
    with (finished / "predictions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    held = vitscope("predict", finished, "digits:test:3", "digits:test:42", "--json").json["predictions"]
    for prediction, index in zip(held, (3, 42), strict=True):
        assert prediction["label"] == rows[index]["label"]
        assert prediction["top"][0]["label"] == rows[index]["predicted"]
        assert prediction["top"][0]["probability"] == pytest.approx(float(rows[index]["probability"]), abs=1e-5)


def test_predict_names_each_bad_picture_and_shows_the_good_ones(
    vitscope: Command, finished: Path, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "pictures")
    whole = (folder / "deeper" / "b.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "text.jpg").write_text("no image at all")
    ended = vitscope("predict", finished, folder / "cut.jpg", folder / "text.jpg", folder / "no.png", folder / "a.png")
    assert ended.code == 2
    assert "a.png" in ended.out
    lines = ended.err.splitlines()
    assert len(lines) == 3
    for line, name in zip(lines, ("cut.jpg", "text.jpg", "no.png"), strict=True):
        assert line.startswith("vitscope: ")
        assert name in line
    as_json = vitscope("predict", finished, folder, "--json")
    assert as_json.code == 2
    assert (len(as_json.json["predictions"]), len(as_json.json["failed"])) == (2, 2)


def test_an_empty_folder_is_one_bad_picture_beside_the_good_ones(
    vitscope: Command, finished: Path, tmp_path: Path
) -> None:
    folder = pictures(tmp_path / "pictures")
    (tmp_path / "empty").mkdir()
    words = ("predict", finished, folder / "a.png", tmp_path / "empty", folder)
    text = vitscope(*words)
    assert text.code == 2
    assert text.out.count("a.png") == 2
    assert (
        text.err == f"vitscope: {tmp_path / 'empty'} holds no image files; give a folder with images, or single files\n"
    )
    as_json = vitscope(*words, "--json")
    assert (as_json.code, len(as_json.json["predictions"]), len(as_json.json["failed"])) == (2, 3, 1)


@pytest.mark.parametrize("item", ["digits:99999", "digits:trian:3", "digits:-1", "nosource:test:1"])
def test_items_that_do_not_exist_get_a_sentence(vitscope: Command, finished: Path, item: str) -> None:
    assert vitscope("predict", finished, item).sentence


def test_predict_of_nothing(vitscope: Command, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    assert "holds no image files" in vitscope("predict", finished, tmp_path / "empty").sentence
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"")))
    assert "standard input is empty" in vitscope("predict", finished, "-").sentence


def test_truncated_weights_are_refused_by_every_command_that_reads_them(vitscope: Command, run: Path) -> None:
    weights = run / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-50])
    for words in (["eval", run], ["predict", run, "digits:1"]):
        assert f"{weights} is not a whole safetensors file (" in vitscope(*words).sentence


def test_three_classes_against_a_model_of_ten(vitscope: Command, finished: Path, tmp_path: Path) -> None:
    for i, name in enumerate(("cat", "dog", "emu")):
        for n in range(3):
            (tmp_path / "pets" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 9, 3), 20 * n + i, np.uint8)).save(tmp_path / "pets" / name / f"{n}.png")
    ended = vitscope("eval", finished, "--data", tmp_path / "pets")
    assert ended.code == 2
    assert "has 3 classes, but the model was trained on 10 (0, 1, 2, …); give data with the same classes" in ended.err


KILLED = """
import os, sys
from vitscope.cli.live import TrainingScreen
from vitscope.cli.main import main
from vitscope.train.events import StepEnded
show = TrainingScreen.__call__
def show_and_die(self, event):
    show(self, event)
    if isinstance(event, StepEnded) and event.step == 10:
        os.kill(os.getpid(), 9)
TrainingScreen.__call__ = show_and_die
main(sys.argv[1:])
"""


def test_a_killed_vitscope_goes_on_to_the_same_numbers(vitscope: Command, tmp_path: Path) -> None:
    """kill -9 in the third epoch; then --resume, and no difference to a training that nothing disturbed."""
    out, whole = tmp_path / "run", tmp_path / "whole"
    cache = {"VITSCOPE_CACHE": str(tmp_path / "cache")}
    environment = os.environ | {"PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"} | cache
    words = ["train", *TINY, "--set", "train.checkpoint_every=3st", "--set", "train.duration=4ep"]

    def start(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)

    killed = start("-c", KILLED, *words, "--out", str(out))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert RunFolder(out).state().to_dict() == {"status": "running", "epochs": 2}
    resumed = start("-m", "vitscope", "train", "--resume", "--out", str(out))
    assert resumed.returncode == 0, resumed.stderr
    assert "resumed at step 9 of 16" in resumed.stderr
    assert vitscope(*words, "--out", whole).code == 0
    assert_same_run(out, whole)
