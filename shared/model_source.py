"""What turns a model file into a model, as planning says it and a worker does it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from shared.errors import ModelError


@dataclass(frozen=True)
class ModelSource:
    """A model file, and what it leaves to be said.

    Attributes:
        size: height and width of the images, where the file leaves them open.
        custom_layers: Python file with the Keras classes and functions that the model is made of.
        architecture: of a file that holds weights alone, `resnet50-gap`.
        num_classes: how many outputs that architecture has.
        channels: how many channels its images have.
        sigmoid: whether it ends in sigmoid; else in softmax.
    """

    path: Path
    size: tuple[int, int] | None = None
    custom_layers: Path | None = None
    architecture: str | None = None
    num_classes: int | None = None
    channels: int = 3
    sigmoid: bool = False

    def fits(self, facts: dict[str, Any], image_shape: tuple[int | None, ...] | None) -> bool:
        """Tell whether findings with these facts and this input are of this source."""
        size = image_shape[:2] if image_shape else None
        return facts == self.facts() and self.size in (None, size)

    def facts(self) -> dict[str, Any]:
        """Return what, besides the file and the size, decides the model; JSON-serialisable."""
        return {
            "custom_layers": file_sha256(self.custom_layers) if self.custom_layers else None,
            "architecture": self.architecture,
            "num_classes": self.num_classes,
            "channels": self.channels,
            "sigmoid": self.sigmoid,
        }


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{path}: the model cannot be read: {error.strerror}.") from error


def model_source(model_path: Path, document: dict[str, Any]) -> ModelSource:
    """Return what a spec, complete or not, in the TOML file's shape, says of its model's file."""
    pixels, weights = document.get("input", {}), document.get("weights", {})
    num_classes = weights.get("num_classes") or len(document.get("classes", ())) or None
    one_unit = document.get("task") == "binary" and num_classes == 1
    custom_layers = document.get("code", {}).get("layers")
    return ModelSource(
        path=model_path,
        size=tuple(pixels["size"]) if "size" in pixels else None,
        custom_layers=Path(custom_layers) if custom_layers else None,
        architecture=weights.get("architecture"),
        num_classes=num_classes if weights else None,
        channels=pixels.get("channels", 3) if weights else 3,
        sigmoid=bool(weights) and (one_unit or document.get("task") == "multilabel"),
    )


def source_to_json(source: ModelSource) -> str:
    """Return a source as one line of JSON."""
    return json.dumps(asdict(source), default=str)


def source_from_json(text: str) -> ModelSource:
    """Build a source from what `source_to_json` gave."""
    document = json.loads(text)
    for name in ("path", "custom_layers"):
        document[name] = Path(document[name]) if document[name] else None
    document["size"] = tuple(document["size"]) if document["size"] else None
    return ModelSource(**document)
