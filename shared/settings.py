"""Flags, environment and camshard.toml, in this order of weight, to one frozen object."""

import os
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainValidator, ValidationError
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from shared.errors import SettingsError
from shared.locations import Location, parse_location, without_secrets

TOML_PATH = Path("camshard.toml")
TOLD_ALL = "CAMSHARD_TOLD_ALL"  # set by who starts a worker: its environment says all that was asked for


def _split(value: object) -> object:
    return (
        tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
    )


def _join(value: object) -> object:
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
Place = Annotated[Location, NoDecode, PlainValidator(parse_location)]
Places = Annotated[tuple[Place, ...], NoDecode, BeforeValidator(_split)]
Text = Annotated[str, NoDecode, BeforeValidator(_join)]


class Settings(BaseSettings):
    """Every option of camshard; a field `shard_size` is `--shard-size` and `CAMSHARD_SHARD_SIZE`."""

    model_config = SettingsConfigDict(
        env_prefix="CAMSHARD_",
        env_ignore_empty=True,
        toml_file=TOML_PATH,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    # metadata
    metadata: Place | None = Field(None, description="Metadata CSV, or its URL: one row an image.")
    id_column: str = Field("image_id", description="Column of the image ids.")
    label_column: str | None = Field(
        None, description="Column of the labels. Default: dx, where the CSV has it."
    )
    label_columns: Names = Field(
        (), description="One-hot label columns, MEL,NV,…; mel=MEL where a class is named otherwise."
    )
    label_separator: str | None = Field(
        None, description="What separates the labels in a multi-label column, as | in A|B|C."
    )
    no_label: Names = Field((), description="Labels that mean none of the classes: 'No Finding'.")
    group_column: str = Field("lesion_id", description="Column of what images share: lesion, patient.")
    encoding: str = Field("utf-8-sig", description="Text encoding of the metadata CSV.")
    where: Names = Field((), description="Only rows with COLUMN=VALUE,…; all columns must match.")
    ids: Path | None = Field(None, description="Only the image ids of this file, one a line.")
    limit: int | None = Field(None, ge=1, description="Only the first N records.")
    keep_duplicates: str | None = Field(
        None, pattern="^first$", description="first: keep the first row of an id that comes twice."
    )
    # images
    images: Places = Field(
        (), description="Image folder, or its URL, s3://…; searched one level deep; may be repeated."
    )
    pattern: str | None = Field(
        None, description="File name of an image, {image_id}_crop.tif. Default: id + .jpg .jpeg .png."
    )
    skip_missing: bool = Field(False, description="Leave out records without an image file.")
    follow_links: bool = Field(False, description="Accept links that lead out of the image folder.")
    max_pixels: int = Field(100_000_000, ge=1, description="Largest image that is decoded, in pixels.")
    # model
    model: Place | None = Field(None, description="Keras model, or its URL: .keras, .h5 or .hdf5.")
    spec: Path | None = Field(None, description="Model spec. Default: the .toml beside the model.")
    task: str | None = Field(None, description="binary, multiclass or multilabel.")
    classes: Names = Field((), description="Class names in the order of the model's outputs.")
    size: Text | None = Field(None, description="Input HEIGHT,WIDTH in pixels.")
    channels: int | None = Field(None, description="Input channels: 3, or 1 for grey.")
    resize: str | None = Field(None, description="stretch, crop or pad.")
    interpolation: str | None = Field(None, description="nearest, bilinear, area or cubic.")
    scale: str | None = Field(None, description="Pixel scaling: 0..1, -1..1, 0..255, caffe or torch.")
    thresholds: Names = Field(
        (), description="Decision thresholds of binary and multilabel models, mel=0.3,nv=0.5."
    )
    architecture: str | None = Field(
        None,
        description="Of a file of weights alone: resnet50-gap, or another of keras.applications.",
    )
    num_classes: int | None = Field(None, ge=1, description="Outputs of that architecture.")
    custom_layers: Path | None = Field(
        None, description="Python file with the Keras classes that the model is made of."
    )
    adapter: str | None = Field(
        None, description="FILE.py:FUNCTION from (images, records) to what the model is called with."
    )
    # explanation
    methods: Names = Field(
        (),
        description="cam, gradcam, gradcam_plusplus, hirescam, layercam, xgradcam, eigencam. Default: cam "
        "and gradcam, or gradcam alone where the head has no average pooling.",
    )
    layers: Names = Field((), description="Layer names, last, or stages. Default: the spec's, or last.")
    targets: Text | None = Field(
        None,
        description="predicted, label, all, top3, or class names. Default: all where they are free "
        "(pooled linear head, last layer), else predicted.",
    )
    target_ranks: int = Field(3, ge=1, description="Most targets an image has in multilabel runs.")
    score: str = Field("logit", description="The score that is explained: logit or probability.")
    resolution: str = Field("native", description="Stored size: native (the layer's) or input.")
    precision: str = Field(
        "float32", description="Of the backbone: float32 (as the model is), mixed_float16 or bfloat16."
    )
    save_features: bool = Field(False, description="Store the pooled activations of the last layer too.")
    # run
    out: Path | None = Field(None, description="Run directory. Default: runs/<model>-<csv>-<run id>.")
    shard_size: int | None = Field(
        None, ge=1, le=65_536, description="Records a shard. Default: records/64 within 32..1024."
    )
    dry_run: bool = Field(False, description="Plan, print what would be done, and stop.")
    allow_failed: int = Field(0, ge=0, description="Failed rows that still give exit code 0.")
    # workers
    workers: int = Field(1, ge=1, le=256, description="Worker processes on this machine's CPUs.")
    gpus: str | None = Field(None, description="all, none, or device numbers: 0,1. Default: all.")
    batch_size: int | None = Field(None, ge=1, description="Images a batch. Default: 16 on CPUs, 64 on GPUs.")
    read_threads: int | None = Field(
        None, ge=1, le=256, description="Threads that read images. Default: by cores; more for URLs."
    )
    cache_dir: Path | None = Field(
        None, description="Folder of copies of what URLs name. Default: camshard in the user's cache folder."
    )
    cache_size: float = Field(
        10.0, ge=0, allow_inf_nan=False, description="Largest size of that folder in GB; 0: no copies."
    )
    trust_model: bool = Field(
        False, description="Let models run code of their own: Lambda and custom layers, adapters."
    )
    exit_when_done: Path | None = Field(
        None, description="End the workers when this run is complete; it may not be planned yet."
    )
    grace: float = Field(
        100.0, ge=0, description="Seconds that workers have to finish their shards when they are stopped."
    )
    metrics: str | None = Field(None, description="HOST:PORT to serve Prometheus metrics at, under /metrics.")
    log_format: str = Field("text", pattern="^(text|json)$", description="Of the workers' log: text or json.")
    runs_root: Path | None = Field(
        None, description="Workers touch only run directories below this. Default: where they start."
    )
    map: Names = Field((), description="OLD=NEW beginnings of paths and URLs, where this machine differs.")
    # broker
    broker: str | None = Field(None, description="Broker URL, redis://user:password@host:6379/0.")
    broker_file: Path | None = Field(
        None, description="File with the broker's URL, as `camshard broker` writes it."
    )
    window: int = Field(500, ge=1, description="Most tasks, of all runs, in the broker at once.")
    wait: bool = Field(False, description="Stay until the run is complete.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flag, environment, camshard.toml; for workers that were told all, the environment alone."""
        toml_path = None if os.environ.get(TOLD_ALL) else TOML_PATH
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_path)


def load_settings(flags: dict[str, Any]) -> Settings:
    """Merge flags (None: not given) with the environment, camshard.toml and the defaults.

    Raises:
        SettingsError: a value is not allowed, or camshard.toml cannot be read.
    """
    given = {name: value for name, value in flags.items() if value not in (None, [], ())}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("; ".join(_explain(one) for one in error.errors())) from error
    except ValueError as error:
        raise SettingsError(f"{TOML_PATH}: {error}.") from error


def flag_of(field: str) -> str:
    """Return the flag of a field: `shard_size` → `--shard-size`."""
    return "--" + field.replace("_", "-")


def _explain(error: Any) -> str:
    name = str(error["loc"][0]) if error["loc"] else "settings"
    if error["type"] == "extra_forbidden":
        return f"{TOML_PATH}: {name!r} is no option; `camshard run --help` lists them"
    received = (
        "a value that is not shown: it may hold a password"
        if name == "broker"
        else without_secrets(repr(error["input"]))
    )
    return f"{flag_of(name)}: {error['msg']}, received {received}"
