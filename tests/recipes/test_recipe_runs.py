"""From a recipe to a run folder and from there to a trained model: the same predictions, and a sentence for every damage."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vitscope
from vitscope._core.errors import CheckpointError, ConfigError, DataError, RunError, VitscopeError
from vitscope.data import open_data, open_item
from vitscope.model.size import size_of
from vitscope.recipes import build as recipes_build
from vitscope.recipes.examining import Question, examine_target
from vitscope.recipes.load import load_recipe, model_spec, settled
from vitscope.recipes.measure import (
    RESULTS,
    check_labels,
    finish,
    forget_results,
    measure_run,
    missing_results,
    table_to_measure,
    top,
)
from vitscope.recipes.run import default_folder, prepare_run, recipe_of_run, reference_of_run, train_run
from vitscope.runs import RunFolder, read_metrics

TINY = (
    "model.dim=16", "model.depth=1", "model.heads=2", "model.mlp_dim=32", "model.patch_size=4",
    "train.duration=2ep", "data.limit=120", "train.batch_size=30", "train.device=cpu",
)  # fmt: skip


def start(path: Path, *changes: str) -> RunFolder:
    with RunFolder.claim(path) as folder:
        train_run(prepare_run(load_recipe("quickstart", changes=(*TINY, *changes)), folder))
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, _cache: Path) -> RunFolder:
    return start(tmp_path_factory.mktemp("runs") / "first")


@pytest.fixture
def run(finished: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy that a test may damage."""
    return RunFolder(Path(shutil.copytree(finished.path, tmp_path / "run")))


def refusal(run: RunFolder) -> str:
    with pytest.raises(RunError) as error:
        vitscope.load(run.path)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2
    return str(error.value)


def test_a_run_folder_holds_what_the_contract_says(finished: RunFolder) -> None:
    names = {p.name for p in finished.path.iterdir() if not p.name.startswith(".")}
    assert {"recipe.yaml", "environment.json", "metrics.csv", "model.safetensors", "config.json", "checkpoint"} <= names
    assert [row.epoch for row in read_metrics(finished.metrics)] == [1, 2]
    config = finished.read_config()
    assert config["label_names"] == list("0123456789")
    assert config["preprocessing"]["mean"] == list(recipe_of_run(finished).normalise.mean)  # type: ignore[union-attr]
    environment = finished.read_environment()
    assert environment["data"]["val_images"] == 360
    assert reference_of_run(finished) is None


@pytest.mark.parametrize("written", [("config.json",), ("config.json", "environment.json")])
def test_a_start_that_was_killed_before_its_recipe_was_written_leaves_room_for_another(
    tmp_path: Path, written: tuple[str, ...]
) -> None:
    with RunFolder.claim(tmp_path / "run") as folder:
        for name in written:
            (folder.path / name).write_text('{"of": "the start that was killed"}')
    folder = start(tmp_path / "run", "train.duration=1st")
    assert folder.read_config()["model"]["dim"] == 16
    assert "packages" in folder.read_environment()


@pytest.mark.parametrize("lost", ["config.json", "environment.json"])
def test_a_resume_makes_what_a_run_is_made_of_again(run: RunFolder, lost: str) -> None:
    (run.path / lost).unlink()
    run.write_state("interrupted", 1)
    with RunFolder.claim(run.path, resume=True) as folder:
        train_run(prepare_run(recipe_of_run(folder), folder), resume=True)
    assert (run.path / lost).exists()
    assert vitscope.load(run.path).label_names == tuple("0123456789")


def test_a_start_that_fails_takes_away_only_what_it_made(tmp_path: Path) -> None:
    own, new = tmp_path / "own", tmp_path / "new"
    own.mkdir()
    (own / ".gitkeep").touch()
    for path in (own, new):
        with pytest.raises(DataError), RunFolder.claim(path) as folder:
            prepare_run(load_recipe("quickstart", source="nosuchsource"), folder)
    assert (own / ".gitkeep").exists()
    assert not new.exists()


def test_a_local_source_is_kept_by_its_full_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 8), ("test", 3)):
        for i in range(count):
            for name in ("cat", "dog"):
                (tmp_path / "pets" / split / name).mkdir(parents=True, exist_ok=True)
                Image.new("L", (8, 8), 9 * i).save(tmp_path / "pets" / split / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    folder = start(tmp_path / "run", "data.source=pets", "train.batch_size=4", "train.duration=1ep")
    monkeypatch.chdir(tmp_path / "pets")
    assert recipe_of_run(folder).data.source == str(tmp_path / "pets")
    assert len(table_to_measure(folder, None, None)) == 6
    monkeypatch.chdir(tmp_path)
    assert len(table_to_measure(folder, "pets", None)) == 6
    assert [settled(s) for s in ("digits", "cifar10", "hub:a/b")] == ["digits", "cifar10", "hub:a/b"]
    assert settled("cifar10:c.tar.gz") == f"cifar10:{tmp_path / 'c.tar.gz'}"


def test_what_an_earlier_look_left_is_not_held_for_the_finished_run(run: RunFolder) -> None:
    assert missing_results(run) == list(RESULTS)
    finish(run, table_to_measure(run, None, None), None, "en")
    assert missing_results(run) == []
    forget_results(run)
    assert missing_results(run) == list(RESULTS)


@pytest.mark.parametrize(
    ("name", "folder"), [("../escaped", "escaped-now"), ("..", "run-now"), ("my run/2", "my-run-2-now")]
)
def test_a_recipes_name_stays_inside_runs(name: str, folder: str) -> None:
    recipe = load_recipe("quickstart", changes=[f"name={name!r}"])
    assert default_folder(recipe, "now") == Path("runs") / folder


def test_the_resolved_recipe_trains_to_the_same_weights(finished: RunFolder, tmp_path: Path) -> None:
    recipe = recipe_of_run(finished)
    assert (recipe.model["classes"], recipe.model["channels"]) == (10, 1)
    with RunFolder.claim(tmp_path / "again") as folder:
        train_run(prepare_run(recipe, folder))
    assert folder.weights.read_bytes() == finished.weights.read_bytes()


def test_the_loaded_model_predicts_what_was_measured(finished: RunFolder) -> None:
    trained = vitscope.load(finished.path)
    assert not trained.model.training
    table = open_data(recipe_of_run(finished).data, image_size=(8, 8), channels=1).val
    pictures = [open_item(f"digits:test:{i}").image for i in range(40)]
    measured = measure_run(finished, table)
    ours = trained.predict(pictures).double().numpy()
    np.testing.assert_allclose(ours, measured.probabilities[:40], atol=1e-5)
    np.testing.assert_allclose(ours.sum(axis=1), 1, atol=1e-5)
    last = read_metrics(finished.metrics)[-1]
    assert measured.evaluation.total.accuracy == pytest.approx(last.val_acc)
    assert measured.evaluation.loss == pytest.approx(last.val_loss, rel=1e-4)


def test_pictures_of_any_size_and_mode_are_taken(finished: RunFolder) -> None:
    trained = vitscope.load(str(finished.path))
    modes = [Image.new(mode, (30, 17)) for mode in ("RGB", "L", "RGBA", "P", "1", "CMYK")]
    assert trained.predict(modes).shape == (6, 10)


def test_the_top_five(finished: RunFolder) -> None:
    probabilities = torch.tensor([0.1, 0.5, 0.2, 0.05, 0.1, 0.05])
    assert [name for name, _ in top(probabilities, tuple("abcdef"), 2)] == ["b", "c"]
    assert len(top(torch.tensor([0.3, 0.7]), ("a", "b"))) == 2


@pytest.mark.parametrize("keep", [0, 7, 500, -1])
def test_truncated_weights_are_refused(run: RunFolder, keep: int) -> None:
    run.weights.write_bytes(run.weights.read_bytes()[:keep])
    message = refusal(run)
    assert message.startswith(f"{run.weights} is not a whole safetensors file (")
    assert message.endswith("copy it again or resume the run")


def test_weights_of_another_model_are_refused(run: RunFolder, tmp_path: Path) -> None:
    deep = start(tmp_path / "deep", "model.depth=2", "train.duration=1st")
    shutil.copy(deep.weights, run.weights)
    message = refusal(run)
    assert message.startswith(f"{run.weights} does not fit the model in config.json: 0 names are missing and ")
    assert message.endswith("is it from another run?")
    wide = start(tmp_path / "wide", "model.mlp_dim=48", "train.duration=1st")
    shutil.copy(wide.weights, run.weights)
    assert "has shape (48,), the model in config.json wants (32,); is it from another run?" in refusal(run)


def test_missing_files_are_named(run: RunFolder) -> None:
    run.weights.unlink()
    assert refusal(run) == f"{run.weights} does not exist; a run has it once its first epoch has ended"
    run.config.unlink()
    assert refusal(run) == f"{run.path} has no config.json, which this needs; give a run that has one"


@pytest.mark.parametrize("key", ["model", "preprocessing", "label_names"])
def test_a_config_that_lacks_a_part_is_refused(run: RunFolder, key: str) -> None:
    config = run.read_config()
    del config[key]
    run.config.write_text(json.dumps(config))
    assert refusal(run) == f"{run.config} has no '{key}'; restore the file or train again"


def test_a_config_with_other_labels_or_nonsense_is_refused(run: RunFolder) -> None:
    config = run.read_config()
    run.config.write_text(json.dumps({**config, "label_names": ["a", "b"]}))
    assert refusal(run) == f"{run.config} has 2 label names for 10 classes; is it from another run?"
    for part, value in (("model", 7), ("preprocessing", [1]), ("label_names", 3), ("model", {"dim": "x"})):
        run.config.write_text(json.dumps({**config, part: value}))
        with pytest.raises(VitscopeError) as error:
            vitscope.load(run.path)
        assert str(run.config) in str(error.value)


def test_a_checkpoint_of_another_recipe_is_refused(run: RunFolder) -> None:
    text = run.recipe.read_text(encoding="utf-8").replace("duration: 2ep", "duration: 3ep")
    run.recipe.write_text(text, encoding="utf-8")
    with pytest.raises(CheckpointError) as error, RunFolder.claim(run.path, resume=True) as folder:
        train_run(prepare_run(recipe_of_run(folder), folder), resume=True)
    assert str(error.value) == (
        f"{run.checkpoint / 'state.pt'} belongs to another recipe than this run's; "
        "put the recipe back or choose a new --out"
    )


def test_data_of_other_classes_are_refused(finished: RunFolder, tmp_path: Path) -> None:
    for name in ("cat", "dog", "emu"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(3):
            Image.fromarray(np.full((8, 8), 40 * i, np.uint8)).save(tmp_path / "pets" / name / f"{i}.png")
    with pytest.raises(DataError) as error:
        measure_run(finished, table_to_measure(finished, str(tmp_path / "pets"), None))
    assert str(error.value).endswith(
        "has 3 classes, but the model was trained on 10 (0, 1, 2, …); give data with the same classes"
    )
    with pytest.raises(DataError, match="x calls a class 'nine' where the model was trained on '9'"):
        check_labels(vitscope.load(finished.path), (*"012345678", "nine"), "x")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            "model.classes=3",
            "model.classes is 3, but digits has 10 classes; leave model.classes out or choose other data",
        ),
        ("train.batch_size=500", "train.batch_size is 500, but there are 120 training images; choose a smaller batch"),
    ],
)
def test_what_does_not_fit_leaves_no_folder_of_a_run(tmp_path: Path, change: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        start(tmp_path / "run", change)
    assert str(error.value) == sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("optimizer", "copies"), [("muon", 2), ("adamw", 3), ("adam", 3), ("sgd", 2)])
def test_what_memory_cannot_hold_is_refused_before_it_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, optimizer: str, copies: int
) -> None:
    def built(*_: object) -> None:
        raise NotImplementedError

    changes = (f"train.optimizer={optimizer}", "model.depth=1000000000")
    spec = model_spec(load_recipe("quickstart", changes=(*TINY, *changes)))
    needed = 4 * copies * size_of(spec.changed(classes=10, channels=1)).parameters
    monkeypatch.setattr(recipes_build, "build", built)
    for memory, ends in ((needed - 1, ConfigError), (needed, NotImplementedError), (None, NotImplementedError)):
        monkeypatch.setattr(recipes_build, "memory_bytes", lambda memory=memory: memory)
        with pytest.raises(ends):
            start(tmp_path / "run", *changes)
        assert not (tmp_path / "run").exists()


def test_a_billion_layers_are_refused_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes_build, "memory_bytes", lambda: 8 * 2**30)
    with pytest.raises(ConfigError) as error:
        start(tmp_path / "run", "model.depth=1000000000")
    assert str(error.value) == (
        "the model has 2.22e+12 parameters, which with the state of muon take 16,570.1 GiB, "
        "but this machine has 8.0 GiB of memory; choose a smaller model.depth or model.dim"
    )


def test_channels_that_are_no_picture_are_refused(tmp_path: Path) -> None:
    with pytest.raises(VitscopeError, match="channels"):
        start(tmp_path / "run", "model.channels=4")


def test_eval_of_a_split_by_name(finished: RunFolder) -> None:
    assert len(table_to_measure(finished, None, None)) == 360
    assert len(table_to_measure(finished, None, "train")) == 1437  # whole, whatever the run's limit
    with pytest.raises(DataError):
        table_to_measure(finished, None, "trian")


def test_weights_and_config_are_all_that_measuring_on_other_data_needs(run: RunFolder) -> None:
    run.recipe.unlink()
    assert len(table_to_measure(run, "digits", None)) == 360
    with pytest.raises(RunError, match=r"has no recipe.yaml"):
        table_to_measure(run, None, None)


def pets(root: Path, first: int = 0, last: int = 10) -> Path:
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(first, last):
            Image.new("L", (8, 8), 10 * i + (name == "dog")).save(root / name / f"{i:02}.png")
    return root


SMALL = ("train.batch_size=4", "train.duration=1st", "data.limit=null")


def test_a_part_held_out_anew_from_changed_data_is_not_measured(tmp_path: Path) -> None:
    """It would hold images that the run was trained on."""
    source = pets(tmp_path / "pets")
    run = start(tmp_path / "run", f"data.source={source}", *SMALL)
    way_out = "restore the data, or measure on others with --data SOURCE --split NAME"

    def refused(given: str | None = None) -> str:
        with pytest.raises(DataError) as error:
            table_to_measure(run, given, None)
        return str(error.value)

    assert len(table_to_measure(run, None, None)) == 4
    pets(source, 10, 13)
    why = f"so the part held out of them now is not the part that {run.path} was validated on"
    assert refused() == f"{source} has 26 images, 20 when the run was trained, {why}; {way_out}"
    assert refused(str(source)) == refused()
    assert len(table_to_measure(run, str(source), "train")) == 26
    for name in ("cat", "dog"):
        for i in range(10, 13):
            (source / name / f"{i}.png").unlink()
    assert len(table_to_measure(run, None, None)) == 4
    Image.new("L", (8, 8), 255).save(source / "cat" / "00.png")
    assert refused() == f"{source} has other images than when the run was trained, {why}; {way_out}"


def test_a_split_that_came_or_went_is_not_taken_for_the_runs_own(tmp_path: Path) -> None:
    source = tmp_path / "pets"
    pets(source / "train")
    held_out = start(tmp_path / "held-out", f"data.source={source}", *SMALL)
    pets(source / "test", 20, 24)
    own = start(tmp_path / "own", f"data.source={source}", *SMALL)
    with pytest.raises(DataError, match="restore the data"):
        table_to_measure(held_out, None, None)
    pets(source / "train", 10, 11)
    assert len(table_to_measure(own, None, None)) == 8  # the run's own test images, whatever else was added
    shutil.rmtree(source / "test")
    with pytest.raises(DataError, match="restore the data"):
        table_to_measure(own, None, None)


def test_each_prediction_names_its_image(tmp_path: Path) -> None:
    """Also where images were held out at random and an unusable one was left out before."""
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("L", (8, 8), 10 * i + (name == "dog")).save(tmp_path / "pets" / name / f"{i}.png")
    (tmp_path / "pets" / "cat" / "3.png").write_text("no image")
    own = (
        "data.skip_corrupt=true",
        "data.val_fraction=0.4",
        "train.batch_size=4",
        "train.duration=1st",
        "data.limit=null",
    )
    folder = start(tmp_path / "run", f"data.source={tmp_path / 'pets'}", *own)
    table = table_to_measure(folder, None, None)
    finish(folder, table, None, "en")
    with (folder.path / "predictions.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == len(table) == 8
    for i, row in enumerate(rows):
        assert row["image"].startswith("pets:train:")
        item = open_item(row["image"], spec=recipe_of_run(folder).data)
        assert item.label == row["label"]
        assert item.image.getpixel((0, 0)) == table.item(i)[0][0, 0, 0]


def test_the_doctor_of_a_run_knows_what_its_recipe_does_to_images(finished: RunFolder, tmp_path: Path) -> None:
    question = Question(data="digits", checks=["data-augmentation"])
    recipe = recipe_of_run(finished)
    assert any(recipe.augment.model_dump().values())
    examined = examine_target(str(finished.path), question)
    assert (examined.findings, examined.checks_run) == ((), ("data-augmentation",))
    plain = start(tmp_path / "plain", "augment={}")
    (found,) = examine_target(str(plain.path), question).findings
    assert found.id == "no-augmentation"
