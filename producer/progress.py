"""What of a run is done, failed and pending, from the run directory alone."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from producer.bottleneck import Bottleneck, find_bottleneck
from shared.attempts import Attempts, read_all_attempts
from shared.finish import finished_facts
from shared.heartbeat import Beat, read_beats
from shared.run import Run
from shared.shard import open_shard
from shared.shard_facts import ShardFacts, read_facts

_RATE_WINDOW_S = 300.0
_FEW_SHARDS = 4
_FATAL_SHARDS = 3
_COUNTED_SHARDS = 200


@dataclass(frozen=True)
class Progress:
    """A run at one moment.

    Attributes:
        rows_working: rows that workers have computed of shards that are not published yet.
        images_per_s: over the last minutes of work, None before the first shard.
        seconds_left: at that rate, None if unknown.
        bound_by: what would have to be faster, None before the first shard.
        workers: beats of the workers seen in the last half minute.
        given_up: shards that failed for good, with the reason.
        troubled: shards that failed and are tried again, with the reason.
    """

    shards: int
    shards_done: int
    rows: int
    rows_done: int
    rows_failed: int
    rows_working: int
    images_per_s: float | None
    seconds_left: float | None
    bound_by: Bottleneck | None
    workers: tuple[Beat, ...]
    given_up: tuple[Attempts, ...]
    troubled: tuple[Attempts, ...]

    @property
    def complete(self) -> bool:
        """Whether every shard is published."""
        return self.shards_done == self.shards

    @property
    def hopeless(self) -> bool:
        """Whether all that is missing was given up, or the run fails wherever it is tried."""
        return _is_hopeless(self.given_up, self.shards_done, self.shards)


@dataclass(frozen=True)
class _Work:
    rows: int
    started_at: float
    finished_at: float


class Watcher:
    """Looks at a run again and again; opens each shard once, and none of a run that has its table."""

    def __init__(self, run: Run):
        self._run = run
        self._facts: dict[int, ShardFacts] = {}

    def look(self) -> Progress:
        """Return what there is now."""
        run = self._run
        published = run.published_shards()
        done = self._facts_of(published)
        rows_done = sum(len(run.shard_rows(shard)) for shard in done)
        beats = _living(run)
        at_work = {shard: rows for one in beats for shard, rows in one.shards.items()}
        working = sum(rows for shard, rows in at_work.items() if shard not in published)
        rate = _rate(run, done)
        attempts = [one for one in read_all_attempts(run) if one.shard not in published]
        given_up = tuple(one for one in attempts if _is_given_up(one, beats))
        left = run.num_records - rows_done - working
        return Progress(
            shards=run.num_shards,
            shards_done=len(published),
            rows=run.num_records,
            rows_done=rows_done,
            rows_failed=sum(one.rows_failed for one in done.values()),
            rows_working=working,
            images_per_s=rate,
            seconds_left=max(left, 0) / rate if rate else None,
            bound_by=find_bottleneck(done.values()),
            workers=beats,
            given_up=given_up,
            troubled=tuple(one for one in attempts if one.error and one not in given_up),
        )

    def _facts_of(self, published: set[int]) -> dict[int, ShardFacts]:
        if not self._facts and len(published) == self._run.num_shards:
            self._facts = dict(enumerate(finished_facts(self._run) or ()))
        for shard in published - self._facts.keys():
            self._facts[shard] = read_facts(self._run, shard)
        return {shard: self._facts[shard] for shard in published}


def has_ended(run: Run, since: float = 0.0) -> bool:
    """Tell whether a run is complete, or hopeless as `Progress` has it; opens no shard.

    Args:
        since: Unix time; what was given up before it may be asked for anew.
    """
    published, beats = run.published_shards(), _living(run)
    attempts = [one for one in read_all_attempts(run) if one.shard not in published and one.at >= since]
    given_up = tuple(one for one in attempts if _is_given_up(one, beats))
    return len(published) == run.num_shards or _is_hopeless(given_up, len(published), run.num_shards)


def _living(run: Run) -> tuple[Beat, ...]:
    return tuple(one for one in read_beats(run) if one.alive)


def _is_hopeless(given_up: tuple[Attempts, ...], shards_done: int, shards: int) -> bool:
    fatal = sum(one.final for one in given_up) >= _FATAL_SHARDS and not shards_done
    return fatal or (bool(given_up) and shards_done + len(given_up) == shards)


def _is_given_up(attempts: Attempts, beats: tuple[Beat, ...]) -> bool:
    """Tell whether a shard's attempts are used up and the last one is over, or its process is gone."""
    over = bool(attempts.error) or not any(attempts.shard in beat.shards for beat in beats)
    return attempts.used_up and over


class AccuracyCheck:
    """Says once when the first labelled shards look as if the model were fed wrongly."""

    def __init__(self, run: Run):
        self._run = run
        self._seen: set[int] = set()
        self._right = self._commonest_right = self._labelled = 0
        self._commonest: int | None = None
        self.warned = False

    def warning(self) -> str | None:
        """Return a warning if always guessing the commonest class would have been right more often.

        Compared over the same rows, so that a CSV sorted by class raises no false alarm.
        """
        if self.warned or self._run.spec.task == "multilabel":
            return None
        room = _COUNTED_SHARDS - len(self._seen)
        for shard in sorted(self._run.published_shards() - self._seen)[:room] if room else ():
            self._seen.add(shard)
            self._count(shard)
        if self._right >= self._commonest_right:
            return None
        self.warned = True
        return (
            f"accuracy so far is {self._right / self._labelled:.0%} over {self._labelled} labelled images; "
            f"always saying {self._run.spec.classes[self._commonest or 0]!r} would give "
            f"{self._commonest_right / self._labelled:.0%}. Check the pixel scaling (--scale), the order of "
            "the classes (--classes) and the interpolation; `camshard inspect MODEL --metadata CSV "
            "--images DIR` tries them all."
        )

    def _count(self, shard: int) -> None:
        with open_shard(self._run.shard_path(shard)) as file:
            labels, predictions = file["label"][...], file["prediction"][...]
        counted = (labels >= 0) & (predictions >= 0)
        if self._commonest is None:
            everywhere = self._run.labels()
            known = everywhere[everywhere >= 0]
            self._commonest = int(np.bincount(known).argmax()) if known.size else -1
        self._labelled += int(counted.sum())
        self._right += int((labels == predictions)[counted].sum())
        self._commonest_right += int((labels == self._commonest)[counted].sum())


_LISTS = ("workers", "given_up", "troubled")


def progress_to_dict(progress: Progress) -> dict[str, object]:
    """Return the progress as JSON-serialisable values, for `status --json`."""
    return {
        "complete": progress.complete,
        **{name: value for name, value in vars(progress).items() if name not in _LISTS},
        **{name: [vars(one) for one in getattr(progress, name)] for name in _LISTS},
        "at": time.time(),
    }


def _rate(run: Run, done: Mapping[int, ShardFacts]) -> float | None:
    """Return images/s over the last minutes of work; the time when nobody worked does not count.

    The first shard of several is left out, since loading and compiling the model weigh in it.
    """
    if not done:
        return None
    latest = max(one.finished_at for one in done.values())
    recent = [
        _Work(len(run.shard_rows(shard)), one.started_at, one.finished_at)
        for shard, one in done.items()
        if latest - one.finished_at < _RATE_WINDOW_S
    ]
    if len(recent) >= _FEW_SHARDS:
        first = min(recent, key=lambda one: one.finished_at)
        recent.remove(first)
        recent = [replace(one, started_at=max(one.started_at, first.finished_at)) for one in recent]
    seconds = _covered(recent)
    return sum(one.rows for one in recent) / seconds if seconds > 0 else None


def _covered(shards: list[_Work]) -> float:
    """Return the seconds in which at least one of the shards was worked on."""
    seconds, until = 0.0, -math.inf
    for one in sorted(shards, key=lambda one: one.started_at):
        seconds += max(0.0, one.finished_at - max(one.started_at, until))
        until = max(until, one.finished_at)
    return seconds
