"""For every test: one thread (two only wait for each other on models this small), a cache folder that is nobody's, and types that are checked."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import torch
from beartype import BeartypeConf
from beartype.claw import beartype_package
from jaxtyping import install_import_hook

SRC = Path(__file__).parents[1] / "src"


def _with_jaxtyping() -> list[str]:
    """The modules whose shapes must agree within a call, and those with types that beartype cannot look up: imported for checking only, of named
    tuples, inherited from a class elsewhere. jaxtyping leaves out what it cannot look up, and costs ten times as much as
    beartype, which checks the rest."""
    words = ("jaxtyping", "TYPE_CHECKING", "NamedTuple", "class Row(Cell)")
    files = [
        file for file in SRC.glob("vitscope/**/*.py") if any(word in file.read_text(encoding="utf-8") for word in words)
    ]
    return [".".join(file.relative_to(SRC).with_suffix("").parts) for file in files]


install_import_hook(_with_jaxtyping(), "beartype.beartype")
beartype_package("vitscope", conf=BeartypeConf(claw_is_pep526=False, is_pep484_tower=True))


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


_numbers = count(1)


@pytest.fixture(autouse=True)
def _little_garbage() -> None:
    """Accelerate and the doctor collect garbage: what the tests before left alive need not be walked each time. All of it is walked but rarely, for
    what a module or a session kept; it takes a second."""
    if next(_numbers) % 500 == 0:
        gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("VITSCOPE_CACHE", str(folder))
        yield folder


@pytest.fixture
def bf16_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """On any CPU, also one that has no instructions for it and would train in fp32."""
    monkeypatch.setattr("vitscope.train.precision.cost_of_bf16", lambda: 0.5)
