"""How a command ends when it does not end well: exit code and sentence of a mistake, an interrupt, a bug and a closed pipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_samples import TINY, Command

from vitscope.recipes import load, measure, run
from vitscope.runs import RunFolder

SOURCES = str(Path(__file__).parents[2] / "src")


def terminated(*given: object, **more: object) -> None:
    """In place of a function: the process is asked to end while it is at work."""
    os.kill(os.getpid(), signal.SIGTERM)


def interrupted(*given: object, **more: object) -> None:
    raise KeyboardInterrupt


def test_debug_shows_where_it_happened_and_ends_as_without(vitscope: Command) -> None:
    ended = vitscope("train", "nonsense", "--debug")
    assert ended.code == 2
    lines = ended.err.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-1].startswith("vitscope: no recipe 'nonsense'")
    wrong = vitscope("train", "--nonsense", "--debug")
    assert (wrong.code, "Traceback" in wrong.err) == (2, True)


@pytest.mark.parametrize("debug", [[], ["--debug"]])
@pytest.mark.parametrize("how", [terminated, interrupted])
def test_an_interrupt_anywhere_ends_with_130(
    vitscope: Command, monkeypatch: pytest.MonkeyPatch, how: Callable[..., None], debug: list[str]
) -> None:
    monkeypatch.setattr(load, "load_recipe", how)
    before = signal.getsignal(signal.SIGTERM)
    ended = vitscope("train", "quickstart", *TINY, *debug)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == "vitscope: interrupted"
    assert ("Traceback" in ended.err) == bool(debug)
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_interrupt_is_told_in_the_language_asked_for(vitscope: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from vitscope.race import targets

    monkeypatch.setattr(targets, "open_pair", interrupted)
    ended = vitscope("compare", "good-vit", "bad-vit", "--lang", "ja")
    assert (ended.code, ended.err) == (130, "vitscope: 中断しました\n")


@pytest.mark.parametrize("debug", [[], ["--debug"]])
def test_a_bug_is_neither_a_verdict_nor_a_mistake_of_the_user(
    vitscope: Command, monkeypatch: pytest.MonkeyPatch, debug: list[str]
) -> None:
    def broken(*given: object, **more: object) -> None:
        raise KeyError("who\nknows")

    monkeypatch.setattr(load, "load_recipe", broken)
    ended = vitscope("train", *debug)
    assert ended.code == 70
    assert ("Traceback" in ended.err) == bool(debug)
    how = "the lines above" if debug else "what the same command shows with --debug"
    assert ended.err.splitlines()[-1] == (
        f"vitscope: unexpected KeyError ('who\\nknows'); this is a bug, please report it with {how}"
    )


def test_sigterm_while_images_are_read_leaves_nothing(
    vitscope: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(run, "gather", terminated)
    ended = vitscope("train", *TINY, "--out", tmp_path / "a")
    assert (ended.code, ended.err) == (130, "vitscope: interrupted\n")
    assert not (tmp_path / "a").exists()


def test_sigterm_in_the_last_evaluation_says_how_to_go_on(
    vitscope: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(measure, "measure_run", terminated)
        ended = vitscope("train", *TINY, "--set", "train.duration=1st", "--out", out)
    assert ended.code == 130
    assert ended.err.splitlines()[-1] == f"vitscope: interrupted; go on with: vitscope train --resume --out {out}"
    assert RunFolder(out).status() == "finished"
    assert vitscope("train", "--resume", "--out", out).code == 0
    assert (out / "evaluation.json").exists()


def test_sigterm_in_another_command(vitscope: Command, monkeypatch: pytest.MonkeyPatch, run: Path) -> None:
    monkeypatch.setattr(measure, "measure_run", terminated)
    ended = vitscope("eval", run)
    assert (ended.code, ended.err) == (130, "vitscope: interrupted\n")


def test_a_reader_that_goes_away_is_no_verdict() -> None:
    """`vitscope models --json | head -1`."""
    program = "import sys; from vitscope.cli.main import main; main(sys.argv[1:])"
    for words in (["models", "--json"], ["explain", "good-vit"]):
        writing, reading = None, None
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [sys.executable, "-c", program, *words],
            env=os.environ | {"PYTHONPATH": SOURCES},
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        os.close(writing)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["models"], ["models", "--json"]])
def test_a_full_disk_behind_standard_output_is_one_sentence(words: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "vitscope", *words], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 2
    assert re.fullmatch(r"vitscope: cannot write to standard output: .+\n", done.stderr)


def test_a_name_that_no_file_could_have_is_one_sentence(vitscope: Command) -> None:
    for command in (["look", "a" * 300, "sample:china"], ["explain", "a" * 300]):
        assert "too long" in vitscope(*command).sentence
