"""Get to know the model without TensorFlow in this process."""

import json
import subprocess
import sys

from shared.errors import MissingExtraError, ModelError
from shared.inspection import (
    Inspection,
    inspection_from_dict,
    inspection_path_beside,
)
from shared.model_source import ModelSource, file_sha256, source_to_json

INSTALL_HINT = "Install TensorFlow with `pip install 'camshard[cpu]'` (or `'camshard[gpu]'`)"


def inspect_model(source: ModelSource, trust_model: bool) -> Inspection:
    """Return what `camshard inspect` finds: from the JSON it left, else from a worker process.

    Raises:
        ModelError: the file is no model, or cannot be explained.
        MissingExtraError: there is no JSON and no TensorFlow.
    """
    model_path = source.path
    if not model_path.exists():
        raise ModelError(f"{model_path}: no such model file. Name it with --model.")
    left_behind = _read_beside(source)
    if left_behind is not None:
        return left_behind
    command = [sys.executable, "-P", "-m", "worker.inspect", source_to_json(source)]
    done = subprocess.run(
        command + ["--trust-model"] * trust_model, capture_output=True, text=True, check=False
    )
    answer = _last_json_line(done.stdout)
    if answer is None:
        raise ModelError(
            f"{model_path}: inspection failed (exit code {done.returncode}): {done.stderr[-2000:]}"
        )
    if answer.get("error") == "MissingExtraError":
        raise MissingExtraError(
            f"TensorFlow is not installed, and there is no {inspection_path_beside(model_path).name} of this "
            f"model beside it. {INSTALL_HINT}, or run `camshard inspect` where it is and copy the JSON here."
        )
    if "error" in answer:
        raise ModelError(answer["message"])
    return inspection_from_dict(answer)


def _read_beside(source: ModelSource) -> Inspection | None:
    path = inspection_path_beside(source.path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        inspection = inspection_from_dict(document)
        fits = source.fits(document["source"], inspection.image_shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelError):
        return None  # not there or of another version: looking at the model itself is always right
    return inspection if fits and inspection.model_sha256 == file_sha256(source.path) else None


def _last_json_line(text: str) -> dict[str, object] | None:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else None
