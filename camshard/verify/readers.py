"""Processes that read HDF5 files: a damaged file may crash the library, or keep it busy for ever."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

from camshard.parallel import map_in_threads
from camshard.verify.file_check import FileCheck, FileRequest
from camshard.verify.finding import Kind
from shared.errors import ShardError

_BYTES_A_READER = 32 * 1024 * 1024  # fewer are read before another process has started


class Reader:
    """One such process, started when it is wanted, and again after a file ended it."""

    def __init__(self, command: list[str]):
        self._command = command
        self._process: subprocess.Popen[str] | None = None

    def check(self, request: FileRequest) -> FileCheck:
        """Have a file checked.

        Raises:
            ShardError: the process cannot do its work at all.
        """
        process = self._process = self._process or self._start()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(asdict(request)) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer.endswith("\n"):
            check = FileCheck.from_json(answer)
            if check.problem:  # a damaged file may leave HDF5 in any state
                self._stop()
            return check
        self._process = None
        return _check_of_ended(*_wait(process))

    def close(self) -> None:
        """End the process."""
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            _wait(self._process)
            self._process = None

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            encoding="utf-8", start_new_session=True,
        )  # fmt: skip


class Readers:
    """As many readers as there are cores and work for, one file each at a time."""

    def __init__(self, run_dir: Path, num_bytes: int):
        number = min(1 + num_bytes // _BYTES_A_READER, len(os.sched_getaffinity(0)))
        command = [sys.executable, "-P", "-m", "camshard.verify.reader", str(run_dir)]
        self._all = [Reader(command) for _ in range(number)]
        self._free: SimpleQueue[Reader] = SimpleQueue()
        for reader in self._all:
            self._free.put(reader)

    def check(self, request: FileRequest) -> FileCheck:
        """Have one file checked by whichever reader is free."""
        reader = self._free.get()
        try:
            return reader.check(request)
        finally:
            self._free.put(reader)

    def check_all(self, requests: Iterable[FileRequest]) -> Iterator[FileCheck]:
        """Yield what came of each file, in their order."""
        return map_in_threads(self.check, requests, len(self._all))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for reader in self._all:
            reader.close()


def _wait(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return exit code and last words of a process that has ended."""
    assert process.stderr is not None
    words = process.stderr.read()
    with contextlib.suppress(BrokenPipeError), process:  # what it did not read any more
        pass
    return process.wait(), words


def _check_of_ended(code: int, words: str) -> FileCheck:
    if code >= 0:
        raise ShardError(f"the process that reads shards failed (exit code {code}): {words[-2000:]}")
    if -code == signal.SIGXCPU:
        return FileCheck((Kind.DAMAGED, "it cannot be read: reading it does not end"))
    if -code in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        return FileCheck((Kind.UNCHECKED, f"the process that read it was ended by signal {-code}"))
    return FileCheck((Kind.DAMAGED, f"it cannot be read: HDF5 crashes on it (signal {-code})"))
