"""One thread, and a cache folder of its own for every test of commands; no garbage, since Accelerate collects it after each training."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from cli_samples import TINY, Command

from vitscope.cli.main import main


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("VITSCOPE_CACHE", str(folder))
        yield folder


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
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VITSCOPE_CACHE", str(tmp_path_factory.mktemp("cache")))
        with pytest.raises(SystemExit) as end:
            main(["train", "quickstart", *TINY, "--out", str(path)])
    torch.set_num_threads(threads)
    assert end.value.code == 0
    return path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(finished, tmp_path / "run"))
