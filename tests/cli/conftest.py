"""For tests of commands: an English terminal of a fixed width, the command itself, and a finished run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from cli_samples import TINY, Command

from vitscope.cli.main import main


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG", "LANGUAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture
def vitscope(capfd: pytest.CaptureFixture[str]) -> Command:
    return Command(capfd)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs on 200 digits, made by the command."""
    path = tmp_path_factory.mktemp("runs") / "first"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as in the tests: sums of two threads differ in the last digit
    words = ["train", "quickstart", *TINY, "--out", str(path)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        # a run remembers the command; pytest has another in each of its processes
        patch.setattr(sys, "argv", ["vitscope", *words])
        with pytest.raises(SystemExit) as end:
            main(words)
    torch.set_num_threads(threads)
    assert end.value.code == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
