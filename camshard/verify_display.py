"""What `camshard verify` prints."""

import json
import time
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from camshard.display import console, errors
from camshard.verify.finding import Finding, Kind, Verification

_PLAIN_EVERY_S = 5.0


class ReadingDisplay:
    """A bar on a terminal; elsewhere one plain line every few seconds. Both on standard error."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("reading"), BarColumn(), DownloadColumn(), TimeRemainingColumn(), console=errors,
            transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task("reading", total=None)
        self._last_plain = time.monotonic()

    def __enter__(self) -> Self:
        if errors.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if errors.is_terminal:
            self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Show how many bytes have been read."""
        if errors.is_terminal:
            self._bar.update(self._task, total=total, completed=done)
        elif time.monotonic() - self._last_plain >= _PLAIN_EVERY_S:
            self._last_plain = time.monotonic()
            errors.print(f"{size_text(done)} of {size_text(total)} read ({done / total:.0%})", markup=False)


def print_verification(found: Verification) -> None:
    """Print one line a finding, then what was read and what it comes to."""
    for one in found.findings:
        console.print(_line(one), markup=False)
    for name in found.written:
        console.print(f"{'written':<9}  {name}", markup=False)
    read = f"{found.shard_files} shard files ({size_text(found.num_bytes)}) checked in {found.seconds:.1f} s"
    console.print(f"{read}: {_verdict(found)}", markup=False)


def verification_to_json(found: Verification) -> str:
    """Return it as one JSON object."""
    document: dict[str, Any] = {
        "run": str(found.run_dir),
        "run_id": found.run_id,
        "exit_code": found.exit_code,
        "damaged": bool(found.damage),
        "complete": found.complete,
        "repaired": found.repaired,
        "findings": [{**asdict(one), "is_damage": one.is_damage} for one in found.findings],
        "written": list(found.written),
        "shard_files": found.shard_files,
        "bytes": found.num_bytes,
        "seconds": found.seconds,
    }
    return json.dumps(document)


def _line(one: Finding) -> str:
    return f"{one.kind:<9}  {one.path}: {one.what}{'; set aside' if one.moved_to else ''}"


def _verdict(found: Verification) -> str:
    if not found.damage:
        return "no damage, but unfinished" if found.unfinished else "no damage"
    if found.repaired:
        return _repair_text(found)
    if any(one.can_be_set_aside or one.kind == Kind.GONE for one in found.damage):
        return f"damaged. `camshard verify {found.run_dir} --repair` sets such files aside and deletes none"
    return "damaged"


def _repair_text(found: Verification) -> str:
    moved = {one.moved_to for one in found.damage if one.moved_to}
    folders = {"/".join(one.split("/")[:2]) for one in moved}
    text = f"damaged, and {len(moved)} files set aside in {found.run_dir / (folders or {'damaged'}).pop()}"
    if any(not one.can_be_set_aside and one.kind != Kind.GONE for one in found.damage):
        return f"{text}; the rest stays as it was"
    if found.complete:
        return f"{text}; the run is whole again"
    return f"{text}; the command that began the run makes the missing shards"


def size_text(num_bytes: float) -> str:
    """Return a size for people: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:.0f} {unit}" if unit == "B" else f"{num_bytes:.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"
