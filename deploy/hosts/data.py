"""What the rehearsed runs explain: made-up lesions, a small net, and a pace that needs no large one."""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from camshard.lesions import LOOKS, make_lesion_set
from deploy.hosts.network import HostsError

METADATA, IMAGES, MODEL, PACE = "lesions/metadata.csv", "lesions/images", "model.keras", "pace.py"

_PACE = '''"""Makes every batch take {seconds} s, as a larger model would, whatever the cores do."""

import time


def make_inputs(images, records):
    time.sleep({seconds})
    return images
'''
_SMALL = """
import sys
from pathlib import Path
from worker.process import load_tensorflow
load_tensorflow()
from shared.model_spec import ModelSpec, spec_path_beside, write_spec
from worker.training.small import INPUT, LAST_LAYER, build_small
path, classes = Path(sys.argv[1]), tuple(sys.argv[2:])
model = build_small(INPUT.size, len(classes), seed=7)
kernel, bias = model.get_layer("probabilities").get_weights()
model.get_layer("probabilities").set_weights([20 * kernel, bias])  # untrained, yet not undecided
model.save(path)
write_spec(spec_path_beside(path), ModelSpec("multiclass", classes, INPUT, layers=(LAST_LAYER,)))
"""


@dataclass(frozen=True)
class Data:
    """What is in the shared folder, and how it is cut.

    Attributes:
        folder: the shared folder as this machine has it.
        pace_s: what every batch takes at least.
    """

    folder: Path
    images: int
    shard_size: int
    batch_size: int
    pace_s: float


def make_data(data: Data, model: Path | None = None) -> None:
    """Draw the images, copy or build the model, and write the adapter that sets the pace.

    Args:
        model: a Keras model of the seven classes of HAM10000, its spec beside it; None builds a small one.

    Raises:
        HostsError: the small model cannot be built.
    """
    (data.folder / "runs").mkdir(parents=True)
    (data.folder / PACE).write_text(_PACE.format(seconds=data.pace_s))
    make_lesion_set(data.folder / "lesions", data.images)
    path = data.folder / MODEL
    if model:
        shutil.copy(model, path)
        shutil.copy(model.with_suffix(".toml"), path.with_suffix(".toml"))
    else:
        _build_small(path)


def _build_small(path: Path) -> None:
    command = [sys.executable, "-P", "-c", _SMALL, str(path), *sorted(LOOKS)]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise HostsError(f"the small model could not be built: {built.stderr[-1500:]}")
