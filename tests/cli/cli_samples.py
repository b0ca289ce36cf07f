"""The command line in this process: words in; exit code, standard output and standard error out."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pytest

from vitscope.cli.main import main

TINY = [
    word
    for change in (
        "model.dim=16", "model.depth=1", "model.heads=2", "model.mlp_dim=32", "model.patch_size=4",
        "train.duration=2ep", "data.limit=200", "train.batch_size=50", "train.device=cpu",
    )
    for word in ("--set", change)
]  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on standard output; anything else there is an error."""
        return json.loads(self.out)

    @property
    def sentence(self) -> str:
        """The one line of a refusal."""
        assert self.code == 2, self
        assert self.out == ""
        lines = self.err.splitlines()
        assert len(lines) == 1, self.err
        assert lines[0].startswith("vitscope: ")
        assert "Traceback" not in self.err
        return lines[0].removeprefix("vitscope: ")


class Command:
    """`vitscope` as a function."""

    def __init__(self, capfd: pytest.CaptureFixture[str]) -> None:
        self.capfd = capfd

    def __call__(self, *words: str) -> Ended:
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        held = self.capfd.readouterr()
        assert isinstance(end.value.code, int)
        return Ended(end.value.code, held.out, held.err)
