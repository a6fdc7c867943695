"""Command-line options made from the fields of `Settings`, so that flag, environment and TOML agree."""

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic.fields import FieldInfo

from shared.settings import Settings, flag_of, load_settings

METADATA = (
    "metadata", "id_column", "label_column", "label_columns", "label_separator", "no_label", "group_column",
    "encoding", "where", "ids", "limit", "keep_duplicates",
)  # fmt: skip
IMAGES = ("images", "pattern", "skip_missing", "follow_links", "max_pixels")
MODEL = (
    "model", "spec", "task", "classes", "size", "channels", "resize", "interpolation", "scale", "thresholds",
    "architecture", "num_classes", "custom_layers", "adapter", "trust_model",
)  # fmt: skip
EXPLANATION = (
    "methods", "layers", "targets", "target_ranks", "score", "resolution", "precision", "save_features",
)  # fmt: skip
RUN = ("out", "shard_size", "dry_run", "allow_failed")
WORKERS = ("workers", "gpus", "batch_size", "read_threads")
CACHE = ("cache_dir", "cache_size")
SERVING = ("runs_root", "map", "exit_when_done", "grace", "metrics", "log_format", *CACHE)
BROKER = ("broker", "broker_file")
PLAN = METADATA + IMAGES + MODEL + EXPLANATION + RUN + CACHE
INSPECT = tuple(
    name for name in MODEL + METADATA + IMAGES + CACHE
    if name not in ("model", "group_column", "limit", "skip_missing")
)  # fmt: skip
_PANELS = {
    "Metadata": METADATA, "Images": IMAGES, "Model": MODEL, "Explanation": EXPLANATION, "Run": RUN,
    "URLs": CACHE, "Workers": WORKERS + SERVING,
}  # fmt: skip


def takes(*names: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the options of these fields; it receives them merged, as its first argument."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def with_settings(**given: Any) -> Any:
            flags = {name: given.pop(name) for name in names}
            return command(load_settings(flags), **given)

        _sign(with_settings, command, [_option(name, Settings.model_fields[name]) for name in names])
        return with_settings

    return decorate


def takes_request(kind: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command the fields of a dataclass as options; it receives one, as its first argument."""
    hints = typing.get_type_hints(kind, include_extras=True)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(kind)
    ]

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        def with_request(**given: Any) -> Any:
            request = kind(**{one.name: given.pop(one.name) for one in options})
            return command(request, **given)

        _sign(with_request, command, options)
        return with_request

    return decorate


def _sign(wrapper: Any, command: Callable[..., Any], options: list[inspect.Parameter]) -> None:
    """Let Typer see a command's own parameters, but its first one, and then the options."""
    own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own] + options
    wrapper.__signature__ = inspect.Signature(parameters)
    wrapper.__annotations__ = {one.name: one.annotation for one in parameters}
    wrapper.__name__ = command.__name__
    wrapper.__doc__ = command.__doc__


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = flag_of(name)
    kind = _flag_type(name, field)
    flags = f"{flag}/--no-{flag[2:]}" if kind == bool | None else flag
    panel = next((title for title, names in _PANELS.items() if name in names), "Broker")
    option = typer.Option(
        flags, help=_help(field), rich_help_panel=panel, show_default=False, metavar=_metavar(name, kind)
    )
    annotation: Any = Annotated[kind, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag_type(name: str, field: FieldInfo) -> Any:
    """Return the type of a flag that may be left out."""
    if name == "images":
        return list[str] | None
    kind = field.annotation
    if isinstance(kind, types.UnionType):
        kind = next(one for one in typing.get_args(kind) if one is not type(None))
    return (kind if kind in (bool, int, float, Path) else str) | None


def _metavar(name: str, kind: Any) -> str | None:
    if kind == bool | None:
        return ""
    if name in ("metadata", "images", "model"):
        return "PATH|URL"
    return {Path | None: "PATH", int | None: "N"}.get(kind, "TEXT")


def _help(field: FieldInfo) -> str:
    text = field.description or ""
    if field.default in (None, (), False) or "Default:" in text:
        return text
    return f"{text} Default: {field.default}."
