"""camshard explains whole image test sets: predictions and class activation maps, in HDF5 shards."""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from camshard.results import Results, open_run

__all__ = ["Results", "open_run"]


def _refuse_foreign_packages() -> None:
    """Look for packages of our plain names that come earlier on the path and hide ours."""
    ours = Path(__file__).resolve().parents[1]
    for name in ("producer", "shared", "worker"):
        found = importlib.util.find_spec(name)
        origin = Path(found.origin).resolve() if found and found.origin else None
        if origin is None or origin.parents[1] != ours:
            text = (
                f"{origin or name}: a foreign package named {name!r} hides camshard's own. Start from "
                "another folder, take that one off PYTHONPATH, or give camshard an environment of its own."
            )
            if sys.argv[0] == "-m" or Path(sys.argv[0]).stem == "camshard":
                sys.exit(f"error: {text}")  # the command line, whose own code comes after this import
            raise ImportError(text)


_refuse_foreign_packages()


def __getattr__(name: str) -> Any:
    """Load the results side when it is used: h5py and pandas take their time."""
    if name == "__version__":
        from importlib.metadata import version

        return version("camshard")
    if name in __all__:
        import camshard.results

        return getattr(camshard.results, name)
    raise AttributeError(f"module 'camshard' has no attribute {name!r}")
