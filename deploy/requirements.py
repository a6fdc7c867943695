"""Print what pyproject.toml asks for, one requirement a line: `requirements.py dependencies report cpu`.

The Dockerfile installs these lists before it copies the code, so that a change of code installs nothing anew.
"""

import sys
import tomllib
from pathlib import Path


def requirements(pyproject: Path, names: list[str]) -> list[str]:
    """Return the requirements of `dependencies` (what camshard always needs) and of extras, in this order."""
    project = tomllib.loads(pyproject.read_text())["project"]
    lists = project["optional-dependencies"] | {"dependencies": project["dependencies"]}
    return [line for name in names for line in lists[name]]


if __name__ == "__main__":
    print(*requirements(Path("pyproject.toml"), sys.argv[1:]), sep="\n")
