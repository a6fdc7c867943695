"""What a process must do before TensorFlow computes in it."""

import importlib
import importlib.util
import os
from functools import cache

from shared.errors import MissingExtraError

_FETCHING_THREADS = 32


def require_tensorflow() -> None:
    """Check that TensorFlow is there, and silence its start-up chatter.

    Raises:
        MissingExtraError: it is not installed.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    if importlib.util.find_spec("tensorflow") is None:
        raise MissingExtraError(
            "TensorFlow is not installed here. Install it with `pip install 'camshard[cpu]'` "
            "(or `'camshard[gpu]'` on a machine with NVIDIA GPUs)."
        )


@cache
def load_tensorflow() -> None:
    """Import TensorFlow once, without what its libraries print of themselves as they are loaded.

    Raises:
        MissingExtraError: it is not installed.
    """
    require_tensorflow()
    saved = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        importlib.import_module("tensorflow")
    finally:
        os.dup2(saved, 2)
        os.close(saved)


def load_for_place() -> None:
    """Import TensorFlow, and see that it has the GPU that this process was started for.

    Raises:
        MissingExtraError: TensorFlow is not installed, or is none for GPUs, or finds no driver.
    """
    load_tensorflow()
    import tensorflow as tf

    wanted = os.environ.get("CAMSHARD_GPU")
    if wanted is not None and not tf.config.list_physical_devices("GPU"):
        raise MissingExtraError(
            f"TensorFlow sees no GPU, and this worker was started for GPU {wanted}. Install it with "
            "`pip install 'camshard[gpu]'`, see whether `nvidia-smi` finds the driver, or compute on CPUs "
            "with --gpus none."
        )


def available_cores() -> int:
    """Return the cores that this process may run on, as Slurm, taskset and container CPU sets leave them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def reading_threads() -> int:
    """Return how many threads read images unless told: two more than this worker's share of the cores.

    Decoding takes a core; the two more wait for files meanwhile.
    """
    share = int(os.environ.get("CAMSHARD_CORES") or available_cores())
    return min(share, 32) + 2


def fetching_threads() -> int:
    """Return how many threads read images at URLs unless told: most of them wait for the server."""
    return max(_FETCHING_THREADS, reading_threads())


@cache
def prepare_tensorflow() -> bool:
    """Set TensorFlow and OpenCV up for a worker, once a process.

    Memory of GPUs grows as needed, so that others can use the rest; OpenCV keeps to one thread a
    call, since images are read by several threads beside the model.

    Returns:
        Whether there is a GPU.
    """
    load_tensorflow()
    import cv2
    import tensorflow as tf

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(
        cv2.utils.logging.LOG_LEVEL_SILENT
    )  # why an image is refused stands in its row
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return bool(gpus)
