"""For every test: one thread (two only wait for each other on models this small), and a cache folder that is nobody's."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.freeze()  # Accelerate collects garbage after each training: what other tests left behind need not be walked each time
    yield
    gc.unfreeze()
    torch.set_num_threads(before)


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
