"""Python files that come with a model: run only where somebody said that they are trusted."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.errors import ModelError


def load_objects(path: Path, trust_model: bool) -> dict[str, Any]:
    """Return the classes and functions that a Python file defines, by name.

    Raises:
        ModelError: the file is not trusted, not there, or raises.
    """
    module = _load(path, trust_model)
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__
    }


def load_function(path: Path, name: str, trust_model: bool) -> Any:
    """Return one function of a Python file.

    Raises:
        ModelError: as `load_objects`, or the function is not in it.
    """
    found = load_objects(path, trust_model)
    if name not in found:
        raise ModelError(f"{path}: no function {name!r} in it. It defines: {', '.join(found) or 'nothing'}.")
    return found[name]


def require_trust(path: Path, trust_model: bool) -> None:
    """Refuse code that nobody said is trusted.

    Raises:
        ModelError: it is not.
    """
    if not trust_model:
        raise ModelError(
            f"{path}: code that comes with a model runs only with --trust-model, given to `run` and to each "
            "worker. Give it where you trust who wrote the file."
        )


def _load(path: Path, trust_model: bool) -> ModuleType:
    require_trust(path, trust_model)
    spec = importlib.util.spec_from_file_location(f"camshard_code_{path.stem}", path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ModelError(f"{path}: no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # it is foreign code: it may raise anything
        raise ModelError(f"{path}: running it raised {type(error).__name__}: {error}.") from error
    return module
