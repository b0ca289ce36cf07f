"""Somebody's code in a process of its own: the command that runs it is run once more there, with a limit of time and of memory.

What never returns is ended, what eats memory meets its limit, and nothing is left running; screens and exit codes pass through.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

from vitscope._core.errors import ModelError, UsageError
from vitscope._core.raised import CodeError, raised, tell_limit
from vitscope._core.text import Lang, Text

_MARK = "VITSCOPE_APART"
_FINISHED = "VITSCOPE_FINISHED"
_AT = "VITSCOPE_AT"
_SHARE = 0.5
"""Of the memory that is free at the start: what grows without end meets this limit before it squeezes others out of a shared machine."""


def is_apart() -> bool:
    """Whether this is the process apart."""
    return _MARK in os.environ


def refuse_no_time(seconds: float) -> None:
    """Refuses a `--time-limit` that is no length of time.

    Raises:
        UsageError: it is none.
    """
    if not 0 < seconds < float("inf"):
        raise UsageError(
            Text(
                f"--time-limit is {seconds:g}, expected seconds",
                f"--time-limitに{seconds:g}が指定されましたが、0より大きい秒数を指定する必要があります",
            )
        )


def run_apart(
    words: Sequence[str], *, what: str | Text, seconds: float, opening: float = float("inf"), lang: Lang = "en"
) -> int:
    """Runs `vitscope WORDS` in a process of its own; its exit code.

    Args:
        words: the command line.
        what: whose code it is, for the sentence, where the process has not said which of several is at work (`tell_who_is_at_work`).
        seconds: after which it is ended.
        opening: seconds that one model may take to be opened.
        lang: of the sentence.

    Raises:
        ModelError: it did not end in time, or not by itself.
        SystemExit: it was interrupted, and has said so.
    """
    with tempfile.TemporaryDirectory() as folder:
        finished, at = Path(folder) / "finished", Path(folder) / "at"
        marks = {_MARK: str(os.getpid()), _FINISHED: str(finished), _AT: str(at)}
        environment = {"PYTHONHASHSEED": "0", **os.environ, **marks}
        process = subprocess.Popen([sys.executable, "-m", "vitscope", *words], env=environment, start_new_session=True)
        try:
            code = _waited_for(process, at, seconds, opening)
        except subprocess.TimeoutExpired as late:
            raise ModelError(_too_late(what, at, late.timeout, seconds)[lang]) from None
        finally:
            _end(process, f"{_FINISHED}={finished}")
        if finished.exists():
            if code == 130:
                raise SystemExit(code)
            return code
        what = _at_work(at)[1] or what
    if code >= 0:
        raise ModelError(_ENDED_ITSELF.format(what=what, code=code)[lang])
    why = _FOR_MEMORY if -code == signal.SIGKILL else _BY_SIGNAL.format(name=signal.Signals(-code).name)
    raise ModelError(_WAS_ENDED.format(what=what, why=why[lang])[lang])


def tell_who_is_at_work(who: str, *, is_opened: bool) -> None:
    """In the process apart: whose code runs from now on, and whether it is only being opened; a sentence about a process that had to be ended names
    it."""
    if _AT in os.environ:
        Path(os.environ[_AT]).write_text(f"{_OPENING if is_opened else ''}\n{who}", encoding="utf-8")


def _at_work(at: Path) -> tuple[bool, str]:
    """Whether a model is being opened, and whose code is at work; nothing where the process has not said."""
    with suppress(OSError, ValueError):
        doing, _, who = at.read_text(encoding="utf-8").partition("\n")
        return doing == _OPENING, who
    return False, ""


def _waited_for(process: subprocess.Popen[bytes], at: Path, seconds: float, opening: float) -> int:
    """The exit code.

    Raises:
        subprocess.TimeoutExpired: it did not come in time, or a model is not open in time.
    """
    begun = since = time.monotonic()
    seen = _at_work(at)
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=max(0.0, min(_LOOK, begun + seconds - time.monotonic())))
        if (now := _at_work(at)) != seen:
            since, seen = time.monotonic(), now
        if time.monotonic() >= begun + seconds:
            raise subprocess.TimeoutExpired(process.args, seconds)
        if seen[0] and time.monotonic() >= since + opening:
            raise subprocess.TimeoutExpired(process.args, opening)


_OPENING = "opening"
_LOOK = 0.5
"""Seconds from one look to the next at who is at work."""


def _too_late(what: str | Text, at: Path, took: float, seconds: float) -> Text:
    """The sentence about a process that was ended after so many seconds, of all that it may take."""
    is_opened, who = _at_work(at)
    if not is_opened or not who:
        said = _TOO_LONG.format(what=what, seconds=f"{seconds:g}")
        return (
            said
            if not who
            else Text(f"{said.en} (it was at work on {who})", f"{said.ja}（停止した時点では{who}を処理していました）")
        )
    return (_NOT_OPEN if took < seconds else _TOO_LONG).format(what=who, seconds=f"{took:g}")


_NOT_OPEN = Text(
    "{what} could not be opened within {seconds} s and was ended; if it is only slow, give it longer with --time-limit (of which a twentieth is for "
    "opening a model)",
    "{what}を{seconds}秒以内に開けなかったため、停止しました。時間がかかるだけなら、--time-limitを長くしてください（その20分の1を、モデルを開くのに"
    "使えます）",
)
_TOO_LONG = Text(
    "{what} did not come to an end within {seconds} s and was ended; if it is only slow, give it longer with --time-limit",
    "{what}は{seconds}秒以内に終わらなかったため、停止しました。時間がかかるだけなら、--time-limitを長くしてください",
)
_ENDED_ITSELF = Text(
    "{what} ended the process that ran it (exit code {code}) before it was done; mend that first",
    "{what}は、処理が終わる前に自分のプロセスを終了させました（終了コード{code}）。まずそれを修正してください",
)
_WAS_ENDED = Text(
    "the process that ran {what} was ended {why}",
    "{what}を実行していたプロセスが{why}",
)
_FOR_MEMORY = Text(
    "for want of memory, most likely; mend it, or try it on a smaller image",
    "強制終了されました。メモリ不足と思われます。修正するか、より小さな画像で試してください",
)
_BY_SIGNAL = Text(
    "by {name}: compiled code that it calls crashed; mend it (python -X faulthandler shows where)",
    "{name}で異常終了しました。呼び出しているコンパイル済みのコードに問題があります。修正してください（python -X faulthandlerで場所が分かります）",
)
_HALF = Text(
    "than it may have here ({gib} GiB, half of what is free)",
    "使える上限（空きメモリの半分、{gib} GiB）を超える",
)


def _end(process: subprocess.Popen[bytes], mark: str) -> None:
    """Ends a process and all that it has started, what left its group too: a mark in their environment tells them."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for each in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if f"\0{mark}\0".encode() in b"\0" + each.read_bytes():
                os.kill(int(each.parent.name), signal.SIGKILL)


def keep_within_limits() -> None:
    """In the process apart: no more memory than half of what the machine has free, and no longer than whoever started it."""
    import resource

    free = _free_memory()
    if free is not None:
        used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
        limit = used + int(_SHARE * free) + (2 << 30)  # torch reserves addresses that it never fills
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            tell_limit(_HALF.format(gib=f"{_SHARE * free / (1 << 30):.1f}"))
    starter = int(os.environ[_MARK])
    threading.Thread(target=_end_with, args=(starter,), daemon=True).start()


def end_apart(code: int) -> NoReturn:
    """In the process apart, behind its last word: tells that the exit code is the command's own, and ends at once, whatever somebody's code has
    left running."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    with suppress(OSError, KeyError):
        Path(os.environ[_FINISHED]).touch()
    os._exit(code)


@contextmanager
def no_interrupt_of_theirs(what: str) -> Iterator[None]:
    """In the process apart nobody presses Ctrl-C: an interrupt in the block is one that somebody's code raised.

    Raises:
        CodeError: it did.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        told = raised(error)
        if not is_apart() or told.advice is None:
            raise
        raise CodeError(
            Text(f"{what} {told.did.en}; {told.advice.en}", f"{what}が{told.did.ja}。{told.advice.ja}")
        ) from error


def _end_with(starter: int) -> None:
    while os.getppid() == starter:
        time.sleep(0.5)
    os.killpg(os.getpid(), signal.SIGKILL)


def _free_memory() -> int | None:
    """Bytes that are free, where the system says so."""
    with suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None
