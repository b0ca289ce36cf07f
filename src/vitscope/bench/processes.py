"""The measuring processes, from outside: requests in, answers out. One computes at a time, for each answer is waited for.

Processes are sessions of their own, so that Ctrl-C reaches the bench alone, which then ends them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from vitscope._core.text import Text
from vitscope.bench.plan import OURS, Mode


class WorkerFailed(Exception):  # noqa: N818  a fact about a cell, which the bench skips and names
    """A request was not met; the words say why. Words of a library's own are the same in both languages."""

    def __init__(self, why: Text | str) -> None:
        super().__init__(why)
        self.why = Text(why, why) if isinstance(why, str) else why


class WorkerEnded(WorkerFailed):
    """The process is no more, and what it had built neither."""


@runtime_checkable
class Answering(Protocol):
    """What the bench needs of a process."""

    def send(self, request: Mapping[str, Any]) -> None: ...

    def receive(self) -> dict[str, Any]: ...

    def close(self) -> None: ...


class WorkerProcess:
    """One process with one library in it."""

    def __init__(self, library: str, threads: int | None = None) -> None:
        self.library = library
        command = [sys.executable, "-m", "vitscope.bench.worker", library]
        if threads is not None:
            command += ["--threads", str(threads)]
        self.said = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the process
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.said,
            start_new_session=True,
            encoding="utf-8",
        )

    def send(self, request: Mapping[str, Any]) -> None:
        """Asks for something."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            raise WorkerEnded(self._last_words()) from None

    def receive(self) -> dict[str, Any]:
        """The answer to what was asked first.

        Raises:
            WorkerFailed: the request was not met; `WorkerEnded` where the process has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise WorkerEnded(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(answer["error"])
        return answer

    def close(self) -> None:
        """Ends the process, whatever it does."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.said):
            try:
                if stream is not None:
                    stream.close()
            except OSError:  # what was still to be sent to it
                pass

    def _last_words(self) -> Text:
        code = self.process.wait()
        self.said.seek(0)
        lines = [line for line in self.said.read().decode(errors="replace").splitlines() if line.strip()]
        if code == -9:
            return Text(
                "its process was killed, perhaps for want of memory",
                "プロセスが強制終了されました（メモリ不足の可能性があります）",
            )
        said = f" ({lines[-1].strip()[:200]})" if lines else ""
        ended = Text("its process ended with code {code}{said}", "プロセスが終了しました（終了コード {code}）{said}")
        return ended.format(code=code, said=said)


Start = Callable[[str, int | None], Answering]


class Processes:
    """All of them, started when they are first needed."""

    def __init__(self, threads: int | None = None, start: Start = WorkerProcess) -> None:
        self.threads, self._start = threads, start
        self._running: dict[tuple[str, Mode | None], Answering] = {}

    def of(self, library: str, mode: Mode | None = None) -> Answering:
        """The process of a library. vitscope has one a mode, as `vitscope train` and `vitscope eval` have."""
        key = (library, mode if library == OURS else None)
        if key not in self._running:
            self._running[key] = self._start(library, self.threads)
        return self._running[key]

    def ask(self, library: str, mode: Mode | None, request: Mapping[str, Any]) -> dict[str, Any]:
        """Asks and waits. A process that has ended is started anew the next time.

        Raises:
            WorkerFailed: the request was not met.
        """
        worker = self.of(library, mode)
        try:
            worker.send(request)
            return worker.receive()
        except WorkerEnded:
            self.replace(library, mode)
            raise

    def ask_all(
        self, requests: Sequence[tuple[str, Mode | None, Mapping[str, Any]]]
    ) -> list[dict[str, Any] | WorkerFailed]:
        """Asks several at once and waits for all: for importing and compiling, of which no time is reported."""
        answers: list[dict[str, Any] | WorkerFailed] = []
        sent: list[WorkerFailed | None] = []
        for library, mode, request in requests:
            try:
                self.of(library, mode).send(request)
                sent.append(None)
            except WorkerFailed as failure:
                sent.append(failure)
        for (library, mode, _), failed in zip(requests, sent, strict=True):
            try:
                answers.append(failed or self.of(library, mode).receive())
            except WorkerFailed as failure:
                answers.append(failure)
            if isinstance(answers[-1], WorkerEnded):
                self.replace(library, mode)
        return answers

    def replace(self, library: str, mode: Mode | None = None) -> None:
        """Ends a process; the next request starts another."""
        worker = self._running.pop((library, mode if library == OURS else None), None)
        if worker is not None:
            worker.close()

    def close(self) -> None:
        """Ends all."""
        for worker in self._running.values():
            worker.close()
        self._running.clear()
