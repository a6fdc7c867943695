"""Python files that come with a model: read at planning, never run there, and kept in the run directory."""

from dataclasses import replace
from pathlib import Path

from shared.errors import SpecError
from shared.model_spec import ModelSpec
from shared.run import ADAPTER_FILE, LAYERS_FILE


def take_code(spec: ModelSpec) -> tuple[ModelSpec, dict[str, str]]:
    """Return the spec with code named as in the run directory, and the code by these names.

    Raises:
        SpecError: a file cannot be read.
    """
    code = {}
    if spec.custom_layers:
        code[LAYERS_FILE] = _read(Path(spec.custom_layers), "--custom-layers")
        spec = replace(spec, custom_layers=LAYERS_FILE)
    if spec.adapter:
        path, _, name = spec.adapter.rpartition(":")
        code[ADAPTER_FILE] = _read(Path(path), "--adapter")
        spec = replace(spec, adapter=f"{ADAPTER_FILE}:{name}")
    return spec, code


def _read(path: Path, flag: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{flag} {path}: cannot be read: {error}.") from error
