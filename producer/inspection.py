"""Get to know the model without TensorFlow in this process."""

import json
import subprocess
import sys
from typing import Any

from shared.errors import MissingExtraError, ModelError, StorageError
from shared.file_cache import FileCache, local_copy, read_text
from shared.inspection import (
    Inspection,
    inspection_from_dict,
    inspection_path_beside,
)
from shared.locations import Location
from shared.model_source import ModelSource, file_sha256, model_source, source_to_json

INSTALL_HINT = "Install TensorFlow with `pip install 'camshard[cpu]'` (or `'camshard[gpu]'`)"


def fetch_inspection(
    model_path: Location, document: dict[str, Any], trust_model: bool, cache: FileCache | None
) -> Inspection:
    """Return what `camshard inspect` finds in a model on a path or at a URL.

    Args:
        document: its spec, as `producer.spec.read_document` gives it.

    Raises:
        ModelError, MissingExtraError: what `inspect_model` raises.
        StorageError: the URL cannot be reached.
    """
    with local_copy(model_path, cache) as path:
        if path is None:
            raise ModelError(f"{model_path}: no such model file. Name it with --model.")
        return inspect_model(model_source(path, document), trust_model, model_path)


def inspect_model(source: ModelSource, trust_model: bool, origin: Location | None = None) -> Inspection:
    """Return what `camshard inspect` finds: from the JSON it left, else from a worker process.

    Args:
        origin: where the file lies that the source is a copy of, if it is one.

    Raises:
        ModelError: the file is no model, or cannot be explained.
        MissingExtraError: there is no JSON and no TensorFlow.
    """
    model_path = origin or source.path
    if not source.path.exists():
        raise ModelError(f"{model_path}: no such model file. Name it with --model.")
    left_behind = _read_beside(source, model_path)
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
        raise ModelError(str(answer["message"]).replace(str(source.path), str(model_path)))
    return inspection_from_dict(answer)


def _read_beside(source: ModelSource, model_path: Location) -> Inspection | None:
    try:
        document = json.loads(read_text(inspection_path_beside(model_path)) or "")
        inspection = inspection_from_dict(document)
        fits = source.fits(document["source"], inspection.image_shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ModelError, StorageError):
        return None  # not there or of another version: looking at the model itself is always right
    return inspection if fits and inspection.model_sha256 == file_sha256(source.path) else None


def _last_json_line(text: str) -> dict[str, object] | None:
    lines = [line for line in text.splitlines() if line.startswith("{")]
    return json.loads(lines[-1]) if lines else None
