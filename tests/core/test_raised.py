"""What is said of an exception from somebody's code: where it comes from, and what helps where that is sure."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from vitscope._core.raised import CodeError, Raised, raised
from vitscope._core.text import Text


def of(code: str, folder: Path) -> Raised:
    file = folder / "theirs.py"
    file.write_text(f"import sys, torch, numpy\n{code}\n")
    with pytest.raises(BaseException) as caught:
        runpy.run_path(str(file))
    return raised(caught.value)


SURE = [
    ("raise MemoryError", "asks for more memory than there is in theirs.py, line 2", "smaller"),
    ("torch.zeros(1 << 50)", "asks for more memory than there is ([enforce fail", "smaller"),
    ("numpy.zeros(1 << 50)", "asks for more memory than there is (Unable to allocate", "smaller"),
    ("def f(): f()\nf()", "calls itself without end in theirs.py, line 2", "self.forward(x)"),
    ("sys.exit(3)", "raised SystemExit (3) in theirs.py, line 2", "sys.exit"),
    ("raise KeyboardInterrupt", "raised KeyboardInterrupt in theirs.py, line 2", "Ctrl-C"),
    ("(lambda x, y: 0)(1)", "missing 1 required positional argument: 'y') in theirs.py", "model(images)"),
]
NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


@pytest.mark.parametrize(
    ("code", "did", "advice"),
    [*SURE, pytest.param("torch.zeros(1).cuda()", "asks for a GPU (", "x.device", marks=NO_GPU)],
)
def test_what_is_sure_has_its_own_advice(code: str, did: str, advice: str, tmp_path: Path) -> None:
    told = of(code, tmp_path)
    assert did in told.did.en
    assert told.advice is not None
    assert advice in told.advice.en
    assert "theirs.pyの2行目で" in told.did.ja
    assert told.advice.ja != told.advice.en


def test_anything_else_is_quoted_with_its_place(tmp_path: Path) -> None:
    told = of("raise ValueError('boom.\\nsecond line')", tmp_path)
    assert told == Raised(
        Text(
            "raised ValueError (boom) in theirs.py, line 2",
            "theirs.pyの2行目でValueError（boom）を送出しました",
        ),
        None,
    )
    assert raised(RuntimeError()).did.en == "raised RuntimeError"
    assert str(CodeError(Text("en", "ja"))) == "en"
