"""`make bench-peers`: measure all systems in turn, print a table, write benchmarks/results/peers.json."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers.agreement import compare
from benchmarks.peers.case import BATCH_SIZE
from benchmarks.peers.turns import Peer

RESULTS_PATH = Path(__file__).parents[1] / "results" / "peers.json"
_ENVIRONMENTS = Path(__file__).parents[2] / ".venv-peers"
_TORCH, _TENSORFLOW = (_ENVIRONMENTS / name / "bin" / "python" for name in ("torch", "tensorflow"))
_PYTHONS = {
    "camshard": Path(sys.executable),
    "pytorch_grad_cam": _TORCH,
    "torchcam": _TORCH,
    "tf_keras_vis": _TENSORFLOW,
    "xplique": _TENSORFLOW,
}
_WAYS = ("forward", "gradcam_last", "gradcam_stages")
_ROUNDS = int(os.environ.get("CAMSHARD_BENCH_PEER_ROUNDS", "10"))
_CORES = 2
Results = dict[str, Any]


def main() -> None:
    """Measure on the images named on the command line, or on made-up lesions."""
    _use_two_cores()
    with tempfile.TemporaryDirectory(prefix="camshard-bench-peers-") as name:
        folder = Path(name)
        # making the model takes memory that its process would keep
        subprocess.run([sys.executable, "-m", "benchmarks.peers.case", folder, *sys.argv[1:]], check=True)
        results = measure(folder)
    RESULTS_PATH.parent.mkdir(exist_ok=True)
    RESULTS_PATH.write_text(json.dumps(results, indent=1) + "\n")
    print_speed(results)
    print_agreement(results, "camshard")
    print_agreement(results, "float64")
    print(f"wrote {RESULTS_PATH}")


def measure(folder: Path) -> Results:
    """Run the rounds and return speed, versions and agreement by system."""
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(name, python, folder)) for name, python in _PYTHONS.items()]
        for number in range(_ROUNDS):
            for peer in peers:
                peer.take_round()
            print(f"round {number + 1} of {_ROUNDS}", flush=True)
    subprocess.run([_TORCH, "-m", "benchmarks.peers.exact", folder], check=True)
    camshard, *others = peers
    return {
        "rounds": _ROUNDS,
        "speed": {peer.name: speed(peer, camshard) for peer in peers},
        "agreement_with_camshard": {peer.name: compare(folder, peer.name, "camshard") for peer in others},
        "agreement_with_float64": {peer.name: compare(folder, peer.name, "exact") for peer in peers},
        "versions": {peer.name: peer.versions for peer in peers},
    }


def speed(peer: Peer, camshard: Peer) -> Results:
    """Return by way the rounds, the best, the spread, and how many times as fast camshard is.

    `camshard_ratio` is of the best rounds, `median_ratio` the median of the ratios within one round.
    """
    found = {}
    for way in _WAYS:
        values = peer.images_per_s(way, BATCH_SIZE)
        if values:
            best, ours = max(values), camshard.images_per_s(way, BATCH_SIZE)
            found[way] = {
                "images_per_s": best,
                "spread": (best - min(values)) / best,
                "camshard_ratio": max(ours) / best,
                "median_ratio": statistics.median(a / b for a, b in zip(ours, values, strict=True)),
                "rounds": values,
            }
    return found


def print_speed(results: Results) -> None:
    """Print one line a system and way."""
    print(f"\n{'system':<17} {'way':<15} {'images/s':>9} {'spread':>7} {'camshard/system':>16} {'median':>7}")
    for name, ways in results["speed"].items():
        for way, figure in ways.items():
            print(
                f"{name:<17} {way:<15} {figure['images_per_s']:>9.2f} {figure['spread']:>7.1%} "
                f"{figure['camshard_ratio']:>16.2f} {figure['median_ratio']:>7.2f}"
            )


def print_agreement(results: Results, reference: str) -> None:
    """Print one line a system and layer: the worst of the batch."""
    print(f"\n{'against ' + reference:<17} {'layer':<17} {'maps':>5} {'correlation':>12} {'difference':>11}")
    for name, layers in results[f"agreement_with_{reference}"].items():
        for layer, one in layers.items():
            print(
                f"{name:<17} {layer:<17} {one['maps']:>5} {one['lowest_correlation']:>12.7f} "
                f"{one['largest_difference']:>11.1e}"
            )


def _use_two_cores() -> None:
    """Keep this process and the workers it starts on two cores, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:_CORES])


if __name__ == "__main__":
    main()
