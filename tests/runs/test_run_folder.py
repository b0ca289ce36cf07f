"""The run folder: what is refused and in which words, how a run's state survives, and that two writers never meet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from vitscope._core.errors import RunError
from vitscope.runs import EpochMetrics, RunFolder, RunState, write_metrics

SOURCES = str(Path(__file__).parents[2] / "src")
HOLD = """
import sys, time
from vitscope.runs import RunFolder
with RunFolder.claim(sys.argv[1]) as folder:
    print("held", flush=True)
    time.sleep(60)
"""
HOLD_WITH_WORKER = """
import os, sys, time
from vitscope.runs import RunFolder
with RunFolder.claim(sys.argv[1]) as folder:
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(60)
"""


def hold(program: str, path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": SOURCES},
    )


def make_run(path: Path, status: str = "finished", epochs: int = 10) -> RunFolder:
    folder = RunFolder.create(path)
    folder.recipe.write_text("model: {name: good-vit}\n")
    folder.write_state(status, epochs)  # type: ignore[arg-type]
    return folder


def refusal(action: object, *args: object, **options: object) -> str:
    with pytest.raises(RunError) as error:
        action(*args, **options)  # type: ignore[operator]
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    return str(error.value)


def test_the_files_have_the_names_of_the_contract(tmp_path: Path) -> None:
    f = RunFolder(tmp_path)
    places = [f.recipe, f.environment, f.metrics, f.weights, f.config, f.checkpoint, f.curve]
    names = "recipe.yaml environment.json metrics.csv model.safetensors config.json checkpoint curve.png"
    assert [place.name for place in places] == names.split()


def test_a_new_run_gets_its_folder_and_nothing_in_it(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "runs" / "a")
    assert folder.path.is_dir()
    assert list(folder.path.iterdir()) == []


@pytest.mark.parametrize(
    ("status", "epochs", "words"),
    [
        ("finished", 10, "finished, 10 epochs"),
        ("running", 1, "unfinished, 1 epoch"),
        ("failed", 0, "unfinished, 0 epochs"),
    ],
)
def test_an_existing_run_is_refused_without_resume(tmp_path: Path, status: str, epochs: int, words: str) -> None:
    path = make_run(tmp_path / "a", status, epochs).path
    assert refusal(RunFolder.create, path) == (
        f"{path} already holds a run ({words}); add --resume to continue it or choose another --out"
    )
    assert RunFolder.create(path, resume=True).path == path


def test_a_damaged_run_is_still_a_run(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    folder.state_file.write_text('{"status": "fin')
    assert "already holds a run (damaged)" in refusal(RunFolder.create, folder.path)
    folder.state_file.write_text('{"status": "done", "epochs": 3}')
    assert "says status 'done' and epochs 3, expected one of running, interrupted" in refusal(folder.state)


def test_a_folder_of_other_things_is_refused(tmp_path: Path) -> None:
    for name in ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt"):
        (tmp_path / name).touch()
    assert refusal(RunFolder.create, tmp_path) == (
        f"{tmp_path} is not empty and no run: it holds a.txt, b.txt, c.txt, d.txt and 1 more; "
        "choose an empty or new folder with --out"
    )
    assert "a.txt is a file, expected a folder to write a run to" in refusal(RunFolder.create, tmp_path / "a.txt")


def test_leftovers_of_a_killed_start_do_not_make_a_folder_full(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".recipe.yaml.77.part").touch()
    with RunFolder.claim(tmp_path):
        assert sorted(entry.name for entry in tmp_path.iterdir()) == [".lock"]


def test_a_checkpoint_that_was_cut_short_is_taken_away(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").touch()
    (tmp_path / "checkpoint").mkdir()
    for name in ("state.pt", ".state.pt.77.part"):
        (tmp_path / "checkpoint" / name).touch()
    with RunFolder.claim(tmp_path, resume=True):
        assert [entry.name for entry in (tmp_path / "checkpoint").iterdir()] == ["state.pt"]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    inside = tmp_path / "file" / "run"
    assert refusal(RunFolder.create, inside) == f"cannot write to {inside}: Not a directory; choose another --out"

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    out = tmp_path / "out"
    assert refusal(RunFolder.create, out) == (
        f"cannot write to {out}: No space left on device; free some space or choose another --out"
    )


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "Permission denied" in refusal(RunFolder.create, tmp_path / "a")


def test_resume_needs_a_run(tmp_path: Path) -> None:
    make_run(tmp_path / "digits-1")
    assert refusal(RunFolder.create, tmp_path / "digit-1", resume=True) == (
        f"nothing to resume: {tmp_path / 'digit-1'} does not exist (did you mean 'digits-1'?); "
        "leave out --resume to start anew"
    )
    assert not (tmp_path / "digit-1").exists()


def test_open_names_what_is_there_and_the_nearest_run(tmp_path: Path) -> None:
    make_run(tmp_path / "quickstart-1")
    assert RunFolder.open(tmp_path / "quickstart-1").path == tmp_path / "quickstart-1"
    missing, other = tmp_path / "quikstart-1", tmp_path / "zzz"
    assert refusal(RunFolder.open, missing) == (
        f"{missing} does not exist, expected a run folder (did you mean 'quickstart-1'?)"
    )
    other.mkdir()
    assert refusal(RunFolder.open, str(other)) == (
        f"{other} is no run folder: it holds nothing, expected recipe.yaml or metrics.csv; "
        "the newest run beside it is quickstart-1"
    )
    assert refusal(RunFolder.open, tmp_path) == (
        f"{tmp_path} is a folder of runs, expected one of them, such as the newest: {tmp_path / 'quickstart-1'}"
    )
    (tmp_path / "file").touch()
    assert "is a file, expected a run folder" in refusal(RunFolder.open, tmp_path / "file")


def test_state_is_kept_and_only_finished_is_believed(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a", "running", 3)
    assert folder.state() == RunState("running", 3)
    assert folder.status() == "unfinished"
    folder.write_state("finished", 4)
    assert folder.status() == "finished"
    folder.state_file.unlink()
    write_metrics(folder.metrics, [EpochMetrics(e, e, *[1.0] * 7) for e in (1, 2)])
    assert folder.state() == RunState("interrupted", 2)


def test_reading_what_is_not_there_or_broken(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "a")
    assert folder.read_recipe_text() == "model: {name: good-vit}\n"
    assert "has no config.json, which this needs" in refusal(folder.read_config)
    folder.config.write_text("[1]")
    assert "holds list, expected a JSON object" in refusal(folder.read_config)
    folder.config.write_text('{"a": ')
    assert "config.json is not JSON (line 1:" in refusal(folder.read_config)
    folder.config.write_text('{"labels": ["猫"]}', encoding="utf-8")
    assert folder.read_config() == {"labels": ["猫"]}


def test_two_trainings_never_write_to_one_folder(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with hold(HOLD, path) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError) as error, RunFolder.claim(path):
            pass
        assert str(error.value) == (
            f"{path} is being written by another training (process {other.pid}); "
            "wait for it, stop it or choose another --out"
        )
        other.send_signal(signal.SIGKILL)
        other.wait()
        with RunFolder.claim(path):  # the kernel let go of it
            pass


def claim_soon(path: Path) -> None:
    """Claims the folder; on a busy machine the worker may need a moment to let go of what it was born with."""
    for _ in range(100):
        try:
            with RunFolder.claim(path):
                return
        except RunError:
            time.sleep(0.05)
    with RunFolder.claim(path):
        pass


def test_a_worker_that_outlives_its_killed_training_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with hold(HOLD_WITH_WORKER, path) as other:
        assert other.stdout is not None
        worker = int(other.stdout.readline())
        try:
            other.send_signal(signal.SIGKILL)
            other.wait()
            os.kill(worker, 0)  # still there
            claim_soon(path)
        finally:
            os.kill(worker, signal.SIGKILL)


def test_a_run_that_came_and_went_before_the_lock_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run"
    lock = RunFolder.lock

    def lock_after_another_run(folder: RunFolder) -> object:
        make_run(folder.path)
        return lock(folder)

    monkeypatch.setattr(RunFolder, "lock", lock_after_another_run)
    with pytest.raises(RunError, match="already holds a run"), RunFolder.claim(path):
        pass


def test_one_process_cannot_hold_a_folder_twice(tmp_path: Path) -> None:
    with RunFolder.claim(tmp_path) as folder:
        message = refusal(folder.lock().__enter__)
    assert f"(process {os.getpid()})" in message
    with folder.lock():
        pass
