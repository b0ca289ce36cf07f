"""What somebody's code raised, in words: what it did, where, and what to do where that is sure. In goes an exception, out comes a `Raised`."""

from __future__ import annotations

import sysconfig
import traceback
from dataclasses import dataclass
from pathlib import Path

from vitscope._core.errors import ModelError
from vitscope._core.text import Text


class CodeError(ModelError):
    """Somebody's code does not do what it is asked for."""


def first_line(error: object) -> str:
    """What an error says first, cut behind a word where it is long; its name where it says nothing."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line if len(line) <= LONG else f"{line[:LONG].rsplit(' ', 1)[0]} …"


LONG = 200
"""Letters of a message that are shown."""


@dataclass(frozen=True)
class Raised:
    """What an exception says of the code that raised it."""

    did: Text
    """What the code did, to stand behind its name: `raised ValueError (no such size) in model.py, line 12`."""
    advice: Text | None
    """What helps, where the exception leaves no doubt, whatever images were given; None where it does."""


_limit = [Text("than there is", "使える量を超える")]


def tell_limit(limit: Text) -> None:
    """Tells with what a process is kept from more memory: `than …`, to stand behind `asks for more memory`."""
    _limit.append(limit)


def raised(error: BaseException) -> Raised:
    """What an exception says, in both languages."""
    kind, words = type(error).__name__, str(error)
    first = first_line(error).rstrip(".") if words.strip() else ""
    en, ja = (f" ({first})", f"（{first}）") if first else ("", "")
    place, place_ja = _place(error)
    if isinstance(error, RecursionError):
        return Raised(
            Text(f"calls itself without end{place}", f"{place_ja}終わりなく自分自身を呼び出しています"), _ENDLESS
        )
    if isinstance(error, MemoryError) or kind == "OutOfMemoryError" or any(said in words for said in _OF_MEMORY):
        limit = _limit[-1]
        did = Text(f"asks for more memory {limit.en}{en}{place}", f"{place_ja}{limit.ja}メモリを要求しました{ja}")
        return Raised(did, _SMALLER)
    if any(said in words for said in _OF_GPU):
        did = Text(
            f"asks for a GPU{en}{place}, where vitscope runs models on the CPU",
            f"{place_ja}GPUを要求しました{ja}。vitscopeはモデルをCPUで動かします",
        )
        return Raised(did, _DEVICE)
    did = Text(f"raised {kind}{en}{place}", f"{place_ja}{kind}{ja}を送出しました")
    if isinstance(error, SystemExit):
        return Raised(did, _EXIT)
    if isinstance(error, KeyboardInterrupt):
        return Raised(did, _INTERRUPT)
    return Raised(did, _ARGUMENTS if kind == "TypeError" and "missing" in words and "argument" in words else None)


_OF_MEMORY = ("allocate memory", "out of memory", "Unable to allocate")
_OF_GPU = (
    *("not compiled with CUDA", "No CUDA GPUs", "NVIDIA driver", "CUDA driver", "CUDA error", "No HIP GPUs"),
    *("support for mps devices", "compiled with XPU", "accelerator device when none", "0 active drivers"),
    *("without ATen_cuda", "requires CUDA support", "from the 'MPS' backend", "to be on the same device"),
)
"""What torch and triton say where there is none."""
_ENDLESS = Text(
    "look for what calls itself, such as self(x) or self.forward(x) inside of that very forward",
    "自分自身を呼び出している箇所（forwardの中のself(x)やself.forward(x)など）を探してください",
)
_SMALLER = Text(
    "let nothing in it be that large, or make the model or its images smaller",
    "そこまで大きなテンソルを作らないようにするか、モデルまたは画像を小さくしてください",
)
_DEVICE = Text(
    "take the device of the input (x.device) in place of .cuda() and 'cuda'",
    ".cuda()や'cuda'の代わりに、入力のデバイス（x.device）を使ってください",
)
_EXIT = Text(
    "that is sys.exit, which ends the whole program: leave it out, and put what a script does under if __name__ == '__main__'",
    "これはプログラム全体を終了させるsys.exitです。取り除くか、スクリプトとしての処理をif __name__ == '__main__'の下に移してください",
)
_INTERRUPT = Text(
    "that is what Ctrl-C does, and nobody pressed it: leave it out, or raise another error",
    "これはCtrl-Cが押されたときの例外ですが、誰も押していません。取り除くか、ほかの例外にしてください",
)
_ARGUMENTS = Text(
    "it is called as model(images) with nothing beside them: give a model whose forward takes images alone (a wrapper that gives the other "
    "arguments), or give those a default",
    "モデルはmodel(images)として画像だけで呼び出されます。forwardが画像だけを受け取るモデル（残りの引数を渡すラッパー）にするか、残りの引数に"
    "既定値を与えてください",
)


def _place(error: BaseException) -> tuple[str, str]:
    """The line of somebody's own file that it comes from, in both languages, to stand behind and before what happened."""
    libraries = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<")
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(libraries) and "site-packages" not in frame.filename
    ]
    if not frames:
        return "", ""
    name, line = Path(frames[-1].filename).name, frames[-1].lineno
    return f" in {name}, line {line}", f"{name}の{line}行目で"
