"""A worker process for each system, told over standard input whose turn it is, so that rounds alternate."""

import importlib.metadata
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from benchmarks.peers.case import STAGES

_PACKAGES = {
    "camshard", "grad-cam", "keras", "tensorflow", "tensorflow_cpu", "tf-keras-vis", "torch", "torchcam",
    "torchvision", "xplique",
}  # fmt: skip
Ways = dict[str, Callable[[], Sequence[np.ndarray]]]


def take_turns(name: str, folder: Path, ways: Ways) -> None:
    """In the worker: run every way once, keep the stages' maps, then time every way at each line that comes.

    Args:
        ways: by name; each returns attributions, float32 (batch, height, width) a layer.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints must not get among the answers
    found = {way: run() for way, run in ways.items()}
    np.savez(folder / f"{name}.npz", **dict(zip(STAGES, found["gradcam_stages"], strict=True)))
    print(json.dumps(_versions()), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps({way: _seconds(run) for way, run in ways.items()}), file=answers, flush=True)


def _versions() -> dict[str, str]:
    return {one.name: one.version for one in importlib.metadata.distributions() if one.name in _PACKAGES}


def _seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


class Peer:
    """In the driver: one system's worker process.

    Attributes:
        versions: by package, as its environment has them.
        rounds: seconds by way, one entry a round.
    """

    def __init__(self, name: str, python: Path, folder: Path):
        self.name = name
        self.rounds: list[dict[str, float]] = []
        self._process = subprocess.Popen(
            [str(python), "-m", f"benchmarks.peers.{name}", str(folder)],
            env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.versions: dict[str, str] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        self._process.wait()

    def take_round(self) -> None:
        """Have every way of this system run and timed once, while all other systems wait."""
        self._process.stdin.write("round\n")
        self._process.stdin.flush()
        self.rounds.append(self._answer())

    def images_per_s(self, way: str, batch_size: int) -> list[float]:
        """Return images/s of each round, none if the system lacks this way."""
        return [batch_size / seconds[way] for seconds in self.rounds if way in seconds]

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with {self._process.wait()}; its messages are above")
        return json.loads(line)
