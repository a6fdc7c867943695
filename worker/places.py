"""Where workers compute on this machine: a GPU each, or a share of the cores."""

import os
import shutil
import subprocess
from dataclasses import dataclass

from shared.errors import SettingsError
from shared.settings import Settings
from worker.process import available_cores


@dataclass(frozen=True)
class Place:
    """Where one worker computes: a GPU by number or UUID, or CPUs (gpu None).

    Attributes:
        cores: its share of the machine's cores, for reading, and on CPUs for computing too.
    """

    name: str
    gpu: str | None
    cores: int

    @property
    def environment(self) -> dict[str, str]:
        """What keeps a worker's TensorFlow, and its reading threads, to this place."""
        cores = str(self.cores)
        if self.gpu is not None:
            return {
                "CAMSHARD_CORES": cores,
                "CAMSHARD_GPU": self.gpu,
                "CUDA_DEVICE_ORDER": "PCI_BUS_ID",  # as nvidia-smi counts
                "CUDA_VISIBLE_DEVICES": self.gpu,
            }
        return {
            "CAMSHARD_CORES": cores,
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_NUM_INTRAOP_THREADS": cores,
            "OMP_NUM_THREADS": cores,
        }


def choose_places(settings: Settings, gpus: list[str]) -> list[Place]:
    """Spread workers over the GPUs asked for, or over the CPUs.

    Raises:
        SettingsError: a GPU is asked for that is not seen.
    """
    asked = settings.gpus or ("all" if gpus else "none")
    if asked == "none":
        names = [(f"cpu{number}", None) for number in range(settings.workers)]
    else:
        wanted = gpus if asked == "all" else list(dict.fromkeys(one.strip() for one in asked.split(",")))
        if not wanted or set(wanted) - set(gpus):
            raise SettingsError(
                f"--gpus {asked}: seen here: {', '.join(gpus) or 'no GPU'}. `camshard doctor` looks closer; "
                "--gpus none computes on CPUs."
            )
        names = [(f"gpu{number}", number) for number in wanted]
    cores = max(1, available_cores() // len(names))
    return [Place(name, gpu, cores) for name, gpu in names]


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that CUDA_VISIBLE_DEVICES leaves, as it names them; loads no TensorFlow."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [one.strip() for one in visible.split(",") if one.strip() not in ("", "-1", "NoDevFiles")]
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    listed = subprocess.run(
        [program, "--query-gpu=index", "--format=csv,noheader"], capture_output=True, text=True, check=False
    )
    return listed.stdout.split() if listed.returncode == 0 else []
