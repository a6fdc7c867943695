"""Write docs/commands.md from the commands themselves: `make docs`."""

import sys
from pathlib import Path
from typing import Any

from typer.main import get_command

PATH = Path(__file__).with_name("commands.md")


def commands_page() -> str:
    """Return the page: every command with its arguments and options."""
    from camshard.cli import app

    parts = [
        "# Commands",
        "Made from the commands by `make docs`. Every option is a flag, an environment variable "
        "(`--shard-size`, `CAMSHARD_SHARD_SIZE`) or a line of `camshard.toml` (`shard_size = 64`), in this "
        "order of weight; a comma-separated value may be a list in TOML. Those of "
        "`demo`, `status`, `verify` and `export` are flags alone.",
    ]
    for name, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        parts.append(_section(name, command))
    return "\n\n".join(parts) + "\n"


def _section(name: str, command: Any) -> str:
    arguments = "".join(f" {one.name.upper()}" for one in command.params if one.param_type_name == "argument")
    rows = [_row(one) for one in command.params if one.param_type_name == "option" and one.name != "help"]
    table = "\n".join(["| option | meaning |", "|---|---|", *rows]) if rows else ""
    return f"## camshard {name}{arguments}\n\n{command.help.strip()}\n\n{table}".rstrip()


def _row(option: Any) -> str:
    flags = ", ".join(f"`{flag}`" for flag in (*option.opts, *option.secondary_opts))
    return f"| {flags} | {option.help.replace('|', chr(92) + '|')} |"


if __name__ == "__main__":
    PATH.write_text(commands_page(), encoding="utf-8")
    sys.stdout.write(f"wrote {PATH}\n")
