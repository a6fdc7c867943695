"""`python -m deploy.hosts`: play the scenarios one after the other, and print what they showed."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.hosts.cluster import WORKERS, run_alone
from deploy.hosts.data import Data, make_data
from deploy.hosts.network import why_impossible
from deploy.hosts.rehearsal import Log
from deploy.hosts.scenarios import SCENARIOS, Outcome, Times, rehearse
from shared.errors import CamshardError


def main() -> int:
    """Return 0 where every run ended whole, 1 where one did not, 130 after Ctrl-C."""
    options = _parser().parse_args()
    if reason := why_impossible():
        print(f"error: no hosts can be made here: {reason}.", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):  # hosts and folder are removed then, too
        signal.signal(number, signal.default_int_handler)
    log = Log()
    try:
        with _folder(options.keep) as folder:
            outcomes = _play(options, folder, log)
        log.print(_table(outcomes))
        return 0
    except CamshardError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if options.log:
            options.log.write_text("\n".join(log.lines) + "\n")


def _play(options: argparse.Namespace, folder: Path, log: Log) -> list[Outcome]:
    data = Data(folder / "shared", options.images, options.shard_size, options.batch_size, options.pace)
    times = Times(options.cut, options.broker_cut, options.how)
    log.begin(
        f"{data.images} images in shards of {data.shard_size}, {data.pace_s} s a batch of {data.batch_size}"
    )
    make_data(data, None if options.model == "small" else Path(options.model))
    log.say("", "images and model are made")
    alone_dir = run_alone(data, folder / "logs" / "alone")
    log.say("alone", "the same run has been made on one host, to compare with")
    names = options.scenario or list(SCENARIOS)
    return [rehearse(name, data, times, log, folder / "logs", alone_dir) for name in names]


@contextmanager
def _folder(keep: bool) -> Iterator[Path]:
    """Make a folder for shared data and logs, and remove it unless it is to be kept."""
    folder = Path(tempfile.mkdtemp(prefix="camshard-hosts-"))
    (folder / "logs").mkdir()
    try:
        yield folder
    finally:
        if keep:
            print(f"logs, data and runs are kept in {folder}")
        else:
            shutil.rmtree(folder)


def _table(outcomes: list[Outcome]) -> str:
    """Lay out a row a scenario."""
    rows: list[tuple[str, ...]] = [("scenario", "run", *WORKERS, "in vain", "back after", "difference")]
    for one in outcomes:
        made = [str(one.made[name]) for name in WORKERS]
        back = "" if one.back_s is None else f"{one.back_s:.1f} s"
        difference = "" if one.difference is None else f"{one.difference:.0e}" if one.difference else "none"
        rows.append((one.scenario, f"{one.run_s:.1f} s", *made, str(one.in_vain), back, difference))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n" + "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m deploy.hosts",
        description="A broker, a producer and three workers on hosts of their own, made of namespaces of "
        "this machine (Linux, root): a run ends whatever happens to them. Nothing outlives the command.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    told = [f"{name}: {act.__doc__}" for name, act in SCENARIOS.items()]
    parser.add_argument(
        "--scenario",
        action="append",
        choices=SCENARIOS,
        help=" ".join(told) + " May be repeated; all if not given.",
    )
    parser.add_argument(
        "--how", choices=("block", "unplug"), default="block", help="packets vanish, or no link"
    )
    parser.add_argument("--cut", type=float, default=60.0, help="seconds that a worker's host is cut off")
    parser.add_argument("--broker-cut", type=float, default=20.0, help="seconds that the broker's host is")
    parser.add_argument("--images", type=int, default=720)
    parser.add_argument("--shard-size", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--pace", type=float, default=2.0, help="seconds that a batch takes at least")
    parser.add_argument("--model", default="small", help="small, or a Keras model with its spec beside it")
    parser.add_argument("--log", type=Path, help="file that the log is written to, too")
    parser.add_argument("--keep", action="store_true", help="leave logs, data and runs")
    return parser


if __name__ == "__main__":
    sys.exit(main())
