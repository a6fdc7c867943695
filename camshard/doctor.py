"""`camshard doctor`: what is here, what is missing, and how to get it."""

import importlib.util
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path

from camshard.display import console
from producer.inspection import INSTALL_HINT
from shared.broker import check_broker, make_app, without_password
from shared.broker_server import find_server
from shared.errors import BrokerError
from shared.heartbeat import WorkerState, read_states, states_dir

_PACKAGES = (
    "camshard",
    "numpy",
    "opencv-python-headless",
    "h5py",
    "pandas",
    "pyarrow",
    "celery",
    "kombu",
    "redis",
)
_EXTRAS = {
    "xarray": "xarray",
    "matplotlib": "report",
    "starlette": "viewer",
    "s3fs": "remote",
    "flower": "monitor",
}
_DEVICES = (
    "import tensorflow as tf, keras; print('TensorFlow', tf.__version__, 'Keras', keras.__version__); "
    "print('devices', ', '.join(f'{d.device_type}:{d.name[-1]}' for d in tf.config.list_physical_devices()))"
)


def examine(broker_url: str | None) -> bool:
    """Print the state of this installation; return whether runs can be made here."""
    checks = [
        _python(),
        _packages(),
        _tensorflow(),
        _opencv(),
        _server(),
        _broker(broker_url),
        _disk(),
        _extras(),
    ]
    for good, name, text in checks:
        console.print(f"{'ok  ' if good else 'LACK'}  {name:<10} {text}", markup=False)
    return all(good for good, _, _ in checks)


def examine_workers() -> bool:
    """Print each of this user's workers on this machine; return whether there are any and all are alive."""
    states = read_states(states_dir())
    for state in states:
        console.print(f"{'ok  ' if state.alive else 'LOST'}  {state.worker:<24} {_seen(state)}", markup=False)
    if not states:
        console.print("no worker of this user reports on this machine")
    return bool(states) and all(state.alive for state in states)


def _seen(state: WorkerState) -> str:
    age_s = time.time() - state.at
    return f"seen {age_s:.0f} s ago, {state.shards_done} shards, {state.images_done} images"


def _python() -> tuple[bool, str, str]:
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    text = f"{platform.python_version()} on {platform.platform()}"
    return good, "Python", text if good else f"{text}; camshard needs 3.11, 3.12 or 3.13"


def _packages() -> tuple[bool, str, str]:
    found = {name: _version(name) for name in _PACKAGES}
    lacking = [name for name, number in found.items() if number is None]
    text = ", ".join(f"{name} {number}" for name, number in found.items() if number)
    return not lacking, "packages", text + (f"; missing: {', '.join(lacking)}" if lacking else "")


def _tensorflow() -> tuple[bool, str, str]:
    """Look at TensorFlow and its devices in a process of its own."""
    done = subprocess.run([sys.executable, "-P", "-c", _DEVICES], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "no reason given"
        return False, "TensorFlow", f"{reason}. {INSTALL_HINT}"
    return True, "TensorFlow", "; ".join(done.stdout.split("\n")).strip("; ")


def _opencv() -> tuple[bool, str, str]:
    names = sorted({str(one.metadata["Name"]) for one in distributions()} & _OPENCVS)
    if len(names) > 1:
        return False, "OpenCV", (
            f"{' and '.join(names)} are installed over each other. Remove all of them, then install one: "
            "pip install opencv-python-headless"
        )  # fmt: skip
    return bool(names), "OpenCV", ", ".join(names) or "pip install opencv-python-headless"


_OPENCVS = {
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
}


def _server() -> tuple[bool, str, str]:
    try:
        return True, "server", f"{find_server()} (for camshard run)"
    except BrokerError as error:
        return False, "server", str(error)


def _broker(url: str | None) -> tuple[bool, str, str]:
    if not url:
        return True, "broker", "none named (--broker, CAMSHARD_BROKER); camshard run brings its own"
    try:
        check_broker(make_app(url))
    except BrokerError as error:
        return False, "broker", str(error)
    return True, "broker", f"{without_password(url)} answers"


def _disk() -> tuple[bool, str, str]:
    here, scratch = Path.cwd(), Path(tempfile.gettempdir())
    free = {path: shutil.disk_usage(path).free / 1e9 for path in (here, scratch)}
    text = ", ".join(f"{path}: {number:.1f} GB free" for path, number in free.items())
    return min(free.values()) > 1, "disk", text


def _extras() -> tuple[bool, str, str]:
    lacking = [extra for module, extra in _EXTRAS.items() if importlib.util.find_spec(module) is None]
    text = (
        f"not installed: {', '.join(lacking)} (pip install 'camshard[{','.join(lacking)}]')"
        if lacking
        else "all"
    )
    return True, "extras", text


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
