"""What a run spends its time on, from the timings in its shards."""

from collections.abc import Iterable
from enum import StrEnum

from shared.shard_facts import ShardFacts

_MUCH = 0.2  # of the time in which a shard had the model


class Bottleneck(StrEnum):
    """What would have to be faster for the run to be faster; the values are what `status` says."""

    READING = "reading images: add --read-threads or move the images nearer"
    WRITING = (
        "writing shards: the storage of the run directory is slow; move it nearer, or ask for fewer layers"
    )
    COMPUTING = "computing: add workers or GPUs"


def find_bottleneck(shards: Iterable[ShardFacts]) -> Bottleneck | None:
    """Say what bounds a run, given its shards; None if nothing was computed yet."""
    reading = writing = computing = 0.0
    for one in shards:
        reading += one.waited_for_images
        writing += one.waited_for_writing
        computing += one.computing
    whole = reading + writing + computing
    if not whole:
        return None
    if max(reading, writing) < _MUCH * whole:
        return Bottleneck.COMPUTING
    return Bottleneck.READING if reading >= writing else Bottleneck.WRITING
