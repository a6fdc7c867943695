"""What a run spends its time on, from the timings in its shards."""

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

WAITS = ("seconds_waiting_for_images", "seconds_waiting_for_writing")
_MUCH = 0.2  # of the time in which a shard had the model


class Bottleneck(StrEnum):
    """What would have to be faster for the run to be faster; the values are what `status` says."""

    READING = "reading images: add --read-threads or move the images nearer"
    WRITING = (
        "writing shards: the storage of the run directory is slow; move it nearer, or ask for fewer layers"
    )
    COMPUTING = "computing: add workers or GPUs"


def seconds_of(attributes: Mapping[str, Any]) -> tuple[float, float, float]:
    """Return what a shard's model waited for images, waited for writing, and computed, in seconds."""
    waits = [float(attributes.get(name, 0.0)) for name in WAITS]
    return waits[0], waits[1], float(attributes["seconds_computing"])


def find_bottleneck(shards: Iterable[tuple[float, float, float]]) -> Bottleneck | None:
    """Say what bounds a run, given `seconds_of` its shards; None if nothing was computed yet."""
    reading, writing, computing = map(sum, zip((0.0, 0.0, 0.0), *shards, strict=True))
    whole = reading + writing + computing
    if not whole:
        return None
    if max(reading, writing) < _MUCH * whole:
        return Bottleneck.COMPUTING
    return Bottleneck.READING if reading >= writing else Bottleneck.WRITING
