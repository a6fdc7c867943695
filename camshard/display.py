"""What the commands print: plans, progress, summaries."""

import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, track
from rich.progress import Progress as Bar

from producer.plan import Plan, free_bytes, result_bytes
from producer.progress import Progress
from shared.attempts import Attempts
from shared.heartbeat import Beat
from shared.run import Run

console = Console(highlight=False, soft_wrap=True)
errors = Console(stderr=True, highlight=False, soft_wrap=True)
_PLAIN_EVERY_S = 5.0

Item = TypeVar("Item")


class ProgressDisplay:
    """A bar on a terminal; elsewhere one plain line every few seconds."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("images"),
            TextColumn("{task.fields[rest]}"), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("explaining", total=None, rest="")
        self._last_plain = 0.0

    def __enter__(self) -> Self:
        if console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if console.is_terminal:
            self._bar.stop()

    def show(self, progress: Progress) -> None:
        """Show where the run is."""
        if console.is_terminal:
            done = progress.rows_done + progress.rows_working
            self._bar.update(self._task, total=progress.rows, completed=done, rest=_rest(progress))
        elif time.monotonic() - self._last_plain >= _PLAIN_EVERY_S or progress.complete:
            self._last_plain = time.monotonic()
            console.print(progress_line(progress))

    def warn(self, text: str) -> None:
        """Show a warning above the bar."""
        errors.print(f"warning: {text}", markup=False)


def count_up(items: Iterable[Item], total: int, noun: str) -> Iterator[Item]:
    """Yield the items and show how many have come: a bar on a terminal, else a line every few seconds."""
    if console.is_terminal:
        yield from track(items, noun, total, console=console, transient=True)
        return
    last = time.monotonic()
    for number, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _PLAIN_EVERY_S:
            last = time.monotonic()
            console.print(f"{number}/{total} {noun} ({number / total:.0%})")


def progress_line(progress: Progress) -> str:
    """Return one line: images, shards, rate, time left, failures."""
    share = (progress.rows_done + progress.rows_working) / progress.rows
    return (
        f"{progress.rows_done + progress.rows_working}/{progress.rows} images ({share:.0%}), "
        f"{progress.shards_done}/{progress.shards} shards, {_rest(progress)}"
    )


def print_plan(plan: Plan) -> None:
    """Print what --dry-run is for: columns, class counts, missing files, layers, shards, disk, notices."""
    run = plan.run
    _print_pairs(
        {
            "run": f"{run.run_id} → {run.dir}",
            "metadata": f"{run.metadata.path} ({', '.join(plan.columns)})",
            "records": f"{run.num_records} in {run.num_shards} shards of {run.shard_size}",
            "classes": ", ".join(f"{name} {count}" for name, count in plan.class_counts.items()),
            "missing images": str(len(plan.missing)),
            "model": f"{run.model_path} ({run.spec.task}, input {_input_text(run)})",
            **_request_pairs(run),
            "disk": f"about {_bytes(result_bytes(run))} at most, {_bytes(free_bytes(run.dir))} free",
        }
    )
    _print_notices(plan)


def print_start(plan: Plan) -> None:
    """Print the short form of the plan, and its notices."""
    run = plan.run
    console.print(
        f"run {run.run_id}: {run.num_records} images, {run.num_shards} shards, "
        f"{', '.join(run.request.methods)} at {', '.join(run.request.layers)} → {run.dir}",
        markup=False,
    )
    _print_notices(plan)


def _print_notices(plan: Plan) -> None:
    for notice in plan.notices:
        errors.print(f"notice: {notice}", markup=False)


def print_full_window(waiting: int) -> None:
    """Say why `enqueue` stays: the window is full."""
    console.print(
        f"the broker's window is full; {waiting} shards wait here for room (--window). Ctrl-C leaves them to "
        "a later `camshard enqueue` of the same command.",
        markup=False,
    )


def print_end(run: Run, progress: Progress) -> None:
    """Print how a run ended."""
    for one in progress.given_up[:5]:
        errors.print(f"shard {one.shard} was given up after {one.count} attempts: {_why(one)}", markup=False)
    if len(progress.given_up) > 5:
        errors.print(f"… and {len(progress.given_up) - 5} more shards")
    if not progress.complete:
        errors.print(
            f"unfinished: {progress.shards_done} of {progress.shards} shards. "
            "The same command goes on from there."
        )
        return
    rate = f", {progress.images_per_s:.1f} images/s" if progress.images_per_s else ""
    failed = (
        f", {progress.rows_failed} of them failed (status and error say why)" if progress.rows_failed else ""
    )
    console.print(f"done: {progress.rows_done} images{failed}{rate} → {run.dir}", markup=False)


def print_status(run: Run, progress: Progress) -> None:
    """Print the state of a run for `camshard status`."""
    state = "complete" if progress.complete else f"{progress.shards - progress.shards_done} shards to go"
    _print_pairs(
        {
            "run": f"{run.run_id} → {run.dir}",
            "state": state,
            "progress": progress_line(progress),
            **({"bound by": str(progress.bound_by)} if progress.bound_by else {}),
            "workers": ", ".join(map(_at_work, progress.workers)) or "none seen",
            **_request_pairs(run),
        }
    )
    for one in progress.given_up:
        console.print(f"shard {one.shard} given up: {_why(one)}", markup=False)
    for one in progress.troubled:
        console.print(f"shard {one.shard} is tried again: {one.error}", markup=False)


def _at_work(beat: Beat) -> str:
    shards = ", ".join(map(str, beat.shards))
    return f"{beat.worker} (shard {shards})" if shards else beat.worker


def _why(attempts: Attempts) -> str:
    return attempts.error or f"the process of worker {attempts.worker} died while it worked on it"


def _request_pairs(run: Run) -> dict[str, str]:
    targets = run.request.targets
    names = [run.spec.classes[index] for index in targets.classes]
    return {
        "methods": ", ".join(f"{method} at {layer}" for method, layer in run.request.attributions),
        "targets": ", ".join(names) if names else f"{targets.kind} ({targets.ranks} an image)",
    }


def _input_text(run: Run) -> str:
    spec = run.spec.input
    shape = f"{spec.size[0]}×{spec.size[1]}×{spec.channels}"
    return f"{shape}, {spec.resize}, {spec.interpolation}, scale {spec.scale}"


def _print_pairs(pairs: dict[str, str]) -> None:
    width = max(map(len, pairs))
    for name, value in pairs.items():
        console.print(f"{name:<{width}}  {value}", markup=False)


def _rest(progress: Progress) -> str:
    parts = []
    if progress.images_per_s:
        parts.append(f"{progress.images_per_s:.1f}/s")
    if progress.seconds_left and progress.workers and not progress.complete:
        parts.append(f"{_duration(progress.seconds_left)} left")
    if not progress.images_per_s:
        parts.append("first shard in work" if progress.workers else "no worker seen yet")
    parts.append(f"{progress.rows_failed} failed")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _bytes(number: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"
