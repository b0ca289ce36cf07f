"""One seed gives one training, bit for bit, also where it was killed or interrupted and resumed; and what a resume refuses."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from train_samples import (
    CASES,
    SHADES,
    assert_same_weights,
    noisy,
    numbers,
    pixels,
    small_vit,
    spec_of,
    table,
    train,
    val_loader,
)

from vitscope._core.errors import CheckpointError, Interrupted, RunError
from vitscope.runs import RunFolder, read_metrics
from vitscope.train.checkpoint import FORMAT, Progress, load_checkpoint, load_weights, save_checkpoint, save_weights
from vitscope.train.events import CheckpointWritten, EpochEnded, Event, Started, StepEnded
from vitscope.train.fit import fit

pytestmark = pytest.mark.e2e  # whole trainings

HERE = Path(__file__).parent
SOURCES = str(HERE.parents[1] / "src")


def at_step(step: int, action: Callable[[], object]) -> Callable[[Event], None]:
    def listen(event: Event) -> None:
        if isinstance(event, StepEnded) and event.step == step:
            action()

    return listen


class Stopped(Exception):  # noqa: N818
    """A training that ends in the middle, as if it had been killed."""


def stop() -> None:
    raise Stopped


def interrupted(folder: Path, step: int, **settings: Any) -> None:
    """Leaves a run behind that died behind a step."""
    RunFolder.create(folder).recipe.write_text("model: {}\n")
    with pytest.raises(Stopped):
        train(folder, listeners=[at_step(step, stop)], resume=True, **settings)


@pytest.mark.parametrize("case", ["everything", "stochastic depth"])
def test_one_seed_is_one_training(case: str) -> None:
    (one, first), (other, second) = train(**CASES[case]), train(**CASES[case])
    assert numbers(first) == numbers(second)
    assert_same_weights(one, other)


def test_another_seed_is_another_training() -> None:
    assert numbers(train(seed=0)[1]) != numbers(train(seed=1)[1])


@pytest.mark.parametrize(
    ("case", "step"),
    [*((case, 8) for case in CASES), *(("everything", step) for step in (2, 4, 12, 15))],
)
def test_a_training_that_died_goes_on_to_the_same_numbers(tmp_path: Path, case: str, step: int) -> None:
    whole, expected = train(**CASES[case])
    interrupted(tmp_path / "run", step, checkpoint_every="3st", **CASES[case])
    starts: list[int] = []
    resumed, result = train(
        tmp_path / "run",
        resume=True,
        checkpoint_every="3st",
        listeners=[lambda e: starts.append(e.first_step) if isinstance(e, Started) else None],
        **CASES[case],
    )
    assert starts == [{2: 0, 4: 3, 8: 6, 12: 10, 15: 12}[step]]
    assert numbers(result) == numbers(expected)
    assert_same_weights(whole, resumed)
    folder = RunFolder(tmp_path / "run")
    assert tuple(read_metrics(folder.metrics)) == result.rows
    assert folder.status() == "finished"
    saved = small_vit(seed=9)
    load_weights(folder.weights, saved)
    assert_same_weights(saved, whole)


@pytest.mark.parametrize(("case", "step"), [("everything", 8), ("dropout", 4)])
def test_kill_9_in_the_middle_of_an_epoch(tmp_path: Path, case: str, step: int) -> None:
    whole, expected = train(**CASES[case])
    path = tmp_path / "run"
    killed = subprocess.run(
        [sys.executable, str(HERE / "train_samples.py"), str(path), case, str(step)],
        env=os.environ | {"PYTHONPATH": SOURCES},
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert RunFolder(path).status() == "unfinished"
    resumed, result = train(path, resume=True, checkpoint_every="3st", **CASES[case])
    assert numbers(result) == numbers(expected)
    assert_same_weights(whole, resumed)


def test_a_damaged_metrics_file_is_made_again_from_the_checkpoint(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", 7)
    folder = RunFolder(tmp_path / "run")
    folder.metrics.write_text("gone")
    folder.weights.unlink()
    with pytest.raises(Stopped):
        train(folder.path, resume=True, listeners=[at_step(6, stop)])
    assert len(read_metrics(folder.metrics)) == 1
    assert folder.weights.exists()


def test_seconds_go_on_counting(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", 7)
    before = read_metrics(RunFolder(tmp_path / "run").metrics)[0].seconds
    _, result = train(tmp_path / "run", resume=True)
    seconds = [row.seconds for row in result.rows]
    assert seconds[0] == before
    assert seconds == sorted(seconds)


def test_a_finished_training_resumed_does_nothing(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "run").recipe.write_text("model: {}\n")
    model, result = train(tmp_path / "run", resume=True, ema=0.9)
    events: list[Event] = []
    again, same = train(tmp_path / "run", resume=True, ema=0.9, listeners=[events.append])
    assert [type(e) for e in events] == [Started]
    assert same.rows == result.rows
    assert_same_weights(model, again)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupt_saves_and_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    path = tmp_path / "run"
    RunFolder.create(path).recipe.write_text("model: {}\n")
    with pytest.raises(Interrupted) as error:
        train(path, resume=True, listeners=[at_step(7, lambda: os.kill(os.getpid(), number))], ema=0.9)
    assert str(error.value) == f"stopped at step 7 of 15, saved; go on with: vitscope train --resume --out {path}"
    assert error.value.exit_code == 130
    assert signal.getsignal(number) is before
    folder = RunFolder(path)
    assert folder.state().to_dict() == {"status": "interrupted", "epochs": 1}
    found = load_checkpoint(folder.checkpoint, SHADES)
    assert found is not None
    assert (found[0].epoch, found[0].batch, found[0].step) == (1, 2, 7)
    model, result = train(path, resume=True, ema=0.9)
    whole, expected = train(ema=0.9)
    assert numbers(result) == numbers(expected)
    assert_same_weights(model, whole)


def test_an_interrupt_at_the_end_of_an_epoch_lets_the_epoch_end(tmp_path: Path) -> None:
    RunFolder.create(tmp_path).recipe.write_text("model: {}\n")
    with pytest.raises(Interrupted, match="stopped at step 6 of 15"):
        train(tmp_path, resume=True, listeners=[at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert len(read_metrics(RunFolder(tmp_path).metrics)) == 1
    _, result = train(tmp_path, resume=True, listeners=[at_step(15, lambda: os.kill(os.getpid(), signal.SIGTERM))])
    assert numbers(result) == numbers(train()[1])


def test_an_interrupt_without_a_folder() -> None:
    with pytest.raises(Interrupted, match=r"^stopped at step 2 of 15$"):
        train(listeners=[at_step(2, lambda: os.kill(os.getpid(), signal.SIGTERM))])


def test_a_second_ctrl_c_acts_at_once(tmp_path: Path) -> None:
    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", listeners=[at_step(2, twice)])


def test_checkpoints_are_written_when_they_are_due(tmp_path: Path) -> None:
    steps: list[int] = []
    train(
        tmp_path / "run",
        checkpoint_every="2st",
        listeners=[lambda e: steps.append(e.step) if isinstance(e, CheckpointWritten) else None],
    )
    assert steps == [2, 4, 5, 6, 8, 10, 12, 14, 15]


def test_an_epoch_is_on_the_disk_when_it_is_told(tmp_path: Path) -> None:
    rows: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, EpochEnded):
            rows.append(len(read_metrics(RunFolder(tmp_path / "run").metrics)))

    train(tmp_path / "run", listeners=[listen])
    assert rows == [1, 2, 3]


def refusal(folder: Path, **identity: str) -> str:
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(folder, SHADES | identity)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with a good checkpoint."""
    save_checkpoint(tmp_path, SHADES, Progress(step=3), {"model": {"w": torch.ones(1000)}})
    return tmp_path


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, keep: float) -> None:
    file = checkpoint / "state.pt"
    content = file.read_bytes()
    file.write_bytes(content[: keep if isinstance(keep, int) else int(keep * len(content))])
    message = refusal(checkpoint)
    assert message.startswith(f"{file} is not a whole vitscope checkpoint (")
    assert message.endswith("put a copy of it back, or start anew with another --out")


def test_a_checkpoint_with_other_bytes_inside_is_refused(checkpoint: Path) -> None:
    file = checkpoint / "state.pt"
    content = bytearray(file.read_bytes())
    ones = content.index(torch.ones(100).numpy().tobytes())
    content[ones + 40 : ones + 44] = b"\x00\x00\x00\x40"  # a weight of 1 becomes one of 2
    file.write_bytes(content)
    assert refusal(checkpoint).startswith(f"{file} is not a whole vitscope checkpoint (damaged)")


@pytest.mark.parametrize(
    "content", [[1], {"format": FORMAT}, {"format": FORMAT, "identity": SHADES, "progress": {"nonsense": 1}}, 7]
)
def test_a_file_of_other_things_is_no_checkpoint(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "state.pt")
    assert "is not a whole vitscope checkpoint" in refusal(tmp_path)


def test_another_training_and_another_format_are_refused(checkpoint: Path) -> None:
    file = checkpoint / "state.pt"
    assert refusal(checkpoint, data="others") == (
        f"{file} belongs to another data than this run's; put the data back or choose a new --out"
    )
    assert " belongs to another recipe than this run's; " in refusal(checkpoint, recipe="another", data="too")
    torch.save({**torch.load(file), "format": 99}, file)
    assert (
        refusal(checkpoint)
        == f"{file} has checkpoint format 99, this vitscope reads {FORMAT}; use the version that wrote it"
    )


class Bomb:
    """What a stranger's checkpoint could hold."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_checkpoint_runs_nobodys_code(tmp_path: Path, how: str) -> None:
    mark = tmp_path / "exploded"
    value = {"format": FORMAT, "identity": SHADES, "progress": Bomb(mark)}
    if how == "torch":
        torch.save(value, tmp_path / "state.pt")
    else:
        (tmp_path / "state.pt").write_bytes(pickle.dumps(value, protocol=2))
    assert "is not a whole vitscope checkpoint" in refusal(tmp_path)
    assert not mark.exists()


def test_no_checkpoint_yet_is_a_start_from_the_beginning(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path, SHADES) is None
    RunFolder.create(tmp_path).recipe.write_text("model: {}\n")
    assert numbers(train(tmp_path, resume=True)[1]) == numbers(train()[1])


def test_a_checkpoint_survives_a_write_that_fails(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="No space left on device; free some space"):
        save_checkpoint(checkpoint, SHADES, Progress(step=4), {})
    found = load_checkpoint(checkpoint, SHADES)
    assert found is not None
    assert found[0].step == 3
    assert [p.name for p in checkpoint.iterdir()] == ["state.pt"]


FULL = """
import resource, sys, torch
from pathlib import Path
from vitscope._core.errors import RunError
from vitscope.train.checkpoint import Progress, save_checkpoint, save_weights
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
model = torch.nn.Linear(100, 100)
for write in (
    lambda: save_checkpoint(Path(sys.argv[1]), {}, Progress(), {"model": model.state_dict()}),
    lambda: save_weights(Path(sys.argv[1]) / "model.safetensors", model),
):
    try:
        write()
    except RunError as error:
        print(error)
"""


def test_a_disk_that_fills_up_gives_a_sentence(tmp_path: Path) -> None:
    """A file size limit stands in for the full disk: the kernel refuses the bytes in the middle of the file."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)],
        env=os.environ | {"PYTHONPATH": SOURCES},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    for line, name in zip(lines, ("state.pt", "model.safetensors"), strict=True):
        assert line.startswith(f"cannot write {tmp_path / name}: ")
        assert line.endswith("free some space or make its folder writable")
    assert list(tmp_path.iterdir()) == []


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"

    def message(**switches: Any) -> str:
        with pytest.raises(CheckpointError) as error:
            load_weights(file, small_vit(**switches))
        assert "\n" not in str(error.value)
        return str(error.value)

    assert message() == f"{file} does not exist; a run has it once its first epoch has ended"
    save_weights(file, small_vit())
    assert "2 blocks" not in message(depth=3)
    assert "does not fit the model in config.json: 1" in message(depth=3)
    assert message(depth=1).endswith("is it from another run?")
    assert "has shape (16" in message(dim=32)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert message().startswith(f"{file} is damaged: its numbers are not those that were saved; copy it again")
    file.write_bytes(whole[:-100])
    assert message().startswith(f"{file} is not a whole safetensors file (")
    file.write_bytes(b"")
    assert message().startswith(f"{file} is not a whole safetensors file (")
    file.unlink()
    file.mkdir()
    assert message().startswith(f"{file} is not a whole safetensors file (")


def test_weights_may_be_read_by_whom_the_system_lets(tmp_path: Path) -> None:
    save_weights(tmp_path / "model.safetensors", small_vit())
    (tmp_path / "plain").touch()
    assert (tmp_path / "model.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_tied_weights_are_saved_and_read(tmp_path: Path) -> None:
    first, second = torch.nn.Linear(3, 3), torch.nn.Linear(3, 3)
    second.weight = first.weight
    tied = torch.nn.Sequential(first, second)
    save_weights(tmp_path / "w.safetensors", tied)
    plain = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Linear(3, 3))
    load_weights(tmp_path / "w.safetensors", plain)
    assert_same_weights(plain, tied)


def test_a_torch_loader_with_random_images_resumes_too(tmp_path: Path) -> None:
    """The user's own data set draws from torch's global generator: a resume must meet the same draws."""

    class Noisy(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
        def __init__(self) -> None:
            self.table = table()

        def __len__(self) -> int:
            return len(self.table)

        def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
            image = torch.from_numpy(self.table.images[index]).permute(2, 0, 1)
            return pixels(image) + 0.3 * torch.randn(1, 8, 8), int(self.table.labels[index])

    def run(folder: Path | None, listeners: Any = ()) -> Any:
        batches = torch.utils.data.DataLoader(Noisy(), batch_size=8, shuffle=True)
        model = small_vit(dropout=0.1)
        where = RunFolder(folder) if folder is not None else None
        result = fit(model, batches, spec_of(checkpoint_every="3st"), folder=where, resume=True, listeners=listeners)
        return model, result

    whole, expected = run(None)
    with pytest.raises(Stopped):
        run(tmp_path, [at_step(9, stop)])
    resumed, result = run(tmp_path)
    assert [r.train_loss for r in result.rows] == [r.train_loss for r in expected.rows]
    assert_same_weights(whole, resumed)


def test_validation_does_not_disturb_the_training() -> None:
    spec = spec_of()
    from train_samples import loader

    with_it, without = small_vit(dropout=0.2), small_vit(dropout=0.2)
    fit(with_it, loader(spec), spec, val_batches=val_loader(), augment=noisy, prepare=pixels)
    fit(without, loader(spec), spec, augment=noisy)
    assert_same_weights(with_it, without)
