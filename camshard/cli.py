"""Arguments → one call → printed lines; no logic."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import camshard
from camshard.export.request import ExportRequest
from camshard.options import BROKER, INSPECT, PLAN, SERVING, WORKERS, takes, takes_request
from shared.errors import CamshardError, SettingsError, Terminated
from shared.locations import parse_location
from shared.settings import Settings

app = typer.Typer(
    help="Explain whole image test sets: predictions, CAM and Grad-CAM in batches, in HDF5 shards.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
RunDir = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"camshard {camshard.__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and stop.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Set what holds for all commands."""
    os.environ["CAMSHARD_TRACEBACKS"] = "1" if debug else ""


@app.command(rich_help_panel="Start")
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder of the demo.")] = Path("demo"),
) -> None:
    """Everything on made-up data, one command: images, training, a whole run, a picture."""
    from camshard.demo import make_demo

    make_demo(out)


@app.command(name="inspect", rich_help_panel="Start")
@takes(*INSPECT)
def inspect_model(
    settings: Settings,
    model: Annotated[str, typer.Argument(help="Keras model, or its URL.", show_default=False)],
) -> None:
    """List layers, head and methods of a model, and write a first spec.

    With --metadata and --images together, try every scale and interpolation on 64 labelled images.
    """
    from camshard.inspection import inspect_and_write

    inspect_and_write(settings.model_copy(update={"model": parse_location(model)}))


@app.command(rich_help_panel="Start")
@takes(*BROKER)
def doctor(
    settings: Settings,
    workers: Annotated[
        bool, typer.Option("--workers", help="Look only whether this machine's workers are alive.")
    ] = False,
) -> None:
    """Versions, devices, broker, disk; what is missing and how to get it.

    Exit code: 0 all well, 1 something is missing; with --workers, 0 if there are workers of this user on this
    machine and every one was seen in the last half minute.
    """
    from camshard.doctor import examine, examine_workers
    from shared.broker_server import broker_url

    raise typer.Exit(0 if (examine_workers() if workers else examine(broker_url(settings))) else 1)


@app.command(rich_help_panel="Run")
@takes(*PLAN, *WORKERS, "grace", *BROKER, "window")
def run(settings: Settings) -> None:
    """Plan a run and make it on this machine: embedded broker, local workers, progress.

    Ctrl-C stops at once; SIGTERM lets the workers finish their shards, for --grace seconds. The same command
    goes on from there.
    """
    from camshard import display, job
    from producer.plan import plan_run
    from producer.run_directory import check_run_dir, write_run_dir

    plan = plan_run(settings)
    if settings.dry_run:
        display.print_plan(plan)
        check_run_dir(plan.run)
        return
    display.print_start(plan)
    made = write_run_dir(plan)
    with display.ProgressDisplay() as shown:
        progress = job.run_locally(settings, made, job.Listener(shown.show, shown.warn))
    display.print_end(made, progress)
    raise typer.Exit(job.exit_code(progress, settings.allow_failed))


@app.command(rich_help_panel="Cluster")
@takes(*PLAN, *BROKER, "window", "wait")
def enqueue(settings: Settings) -> None:
    """Plan a run and put its shards into a broker's queue, for workers anywhere."""
    from camshard import display, job
    from camshard.cluster import connect
    from producer.plan import plan_run
    from producer.run_directory import check_run_dir, write_run_dir

    broker = None if settings.dry_run else connect(settings)
    plan = plan_run(settings)
    if broker is None:
        display.print_plan(plan)
        check_run_dir(plan.run)
        return
    display.print_start(plan)
    made = write_run_dir(plan)
    if not settings.wait:
        number = job.publish_all(broker, settings, made, display.print_full_window)
        display.console.print(
            f"{number} shards enqueued. Watch with: camshard status {made.dir} --watch", markup=False
        )
        return
    with display.ProgressDisplay() as shown:
        progress = job.follow(broker, settings, made, job.Listener(shown.show, shown.warn))
    display.print_end(made, progress)
    raise typer.Exit(job.exit_code(progress, settings.allow_failed))


@app.command(rich_help_panel="Cluster")
@takes(*WORKERS, *SERVING, *BROKER, "trust_model")
def worker(settings: Settings) -> None:
    """Take shards from a broker's queue and make them, on every GPU of this machine or on its CPUs.

    Ctrl-C lets each worker finish its shard; a second Ctrl-C stops at once.
    """
    from camshard.cluster import connect, serve_workers

    serve_workers(settings, connect(settings))


@app.command(rich_help_panel="Cluster")
@takes("broker_file")
def broker(
    settings: Settings,
    listen: Annotated[
        str, typer.Option("--listen", help="HOST:PORT; port 0: any that is free.", show_default=False)
    ],
    data: Annotated[
        Path, typer.Option("--data", help="Folder that keeps the queue, for its owner alone.")
    ] = Path("camshard-broker"),
) -> None:
    """Start a broker where there is none, with a password of its own, until somebody stops it.

    Its URL goes into --broker-file (default: url in the folder of --data), for its owner alone; the other
    commands read it there.
    """
    from camshard.cluster import serve_broker

    serve_broker(listen, settings.broker_file, data)


@app.command(rich_help_panel="Cluster")
def status(
    run_dir: RunDir,
    watch: Annotated[bool, typer.Option("--watch", help="Look again until the run has ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one line a look.")] = False,
) -> None:
    """What of a run is done, failed and pending. Exit code: 0 complete, 3 with failed rows, 4 unfinished."""
    from camshard import display, job
    from producer.progress import Watcher, progress_to_dict
    from shared.run import read_run

    found = read_run(run_dir)
    watcher = Watcher(found)
    while True:
        progress = watcher.look()
        last = not watch or progress.complete or progress.hopeless
        if as_json:
            typer.echo(json.dumps(progress_to_dict(progress)))
        elif last:
            display.print_status(found, progress)
        else:
            display.console.print(display.progress_line(progress))
        if last:
            raise typer.Exit(job.exit_code(progress, 0))
        time.sleep(2)


@app.command(rich_help_panel="Results")
def verify(
    run_dir: RunDir,
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged and stray files aside in RUN/damaged; deletes none.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Read every file of a run and name what is damaged, foreign, stray or missing.

    Exit code: 0 clean, 1 damage (also where --repair has just set it aside: verify again to see 0 or 4),
    4 no damage, but an unfinished run.
    """
    from camshard import verify_display
    from camshard.verify.run import verify_run

    with verify_display.ReadingDisplay() as shown:
        found = verify_run(run_dir, repair, shown.show)
    if as_json:
        typer.echo(verify_display.verification_to_json(found))
    else:
        verify_display.print_verification(found)
    raise typer.Exit(found.exit_code)


@app.command(rich_help_panel="Results")
@takes_request(ExportRequest)
def export(request: ExportRequest, run_dir: RunDir) -> None:
    """Turn a run into a table, one HDF5 file, overlays, a figure or a FiftyOne dataset.

    Exit code: 0, or 3 where images were skipped because there is nothing to draw.
    """
    from camshard import display
    from camshard.export.write import export_run

    outcome = export_run(run_dir, request)
    display.console.print(str(outcome), markup=False)
    raise typer.Exit(3 if outcome.skipped else 0)


def main() -> None:
    """Run the command line; errors become one line and an exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        code = app(standalone_mode=False)
    except CamshardError as error:
        code = _say(error)
    except KeyboardInterrupt:
        typer.echo("interrupted: the same command goes on from here", err=True)
        code = 130
    except Exception as error:
        code = _usage_error(error)
    sys.exit(code if isinstance(code, int) else 0)


def _terminate(*_: object) -> None:
    raise Terminated


def _say(error: CamshardError) -> int:
    if os.environ.get("CAMSHARD_TRACEBACKS"):
        raise error
    typer.echo(f"error: {error}", err=True)
    return 2 if isinstance(error, SettingsError) else 1


def _usage_error(error: Exception) -> int:
    """Print what Typer says of a wrong command line; anything else is a bug and shows its traceback."""
    if isinstance(error, typer.Abort):
        return 130
    if not hasattr(error, "exit_code") or not hasattr(error, "show"):
        raise error
    error.show()
    return int(error.exit_code)


if __name__ == "__main__":
    main()
