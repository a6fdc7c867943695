"""What `camshard inspect` finds in a model file, as JSON beside it: planning needs no TensorFlow."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from shared.errors import ModelError
from shared.locations import Location
from shared.model_source import ModelSource

SCHEMA = 1


@dataclass(frozen=True)
class Layer:
    """A layer whose output has a height and a width, so that it can be explained.

    Attributes:
        name: its path through nested models, `backbone/block5_conv3`.
        shape: height, width and channels of its output.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Inspection:
    """A model as planning sees it.

    Attributes:
        input_shapes: one shape an input, without the batch axis.
        outputs: how many values the output has.
        activation: of the output: softmax, sigmoid or linear.
        pooling: what turns the last feature maps into a vector: average, max, flatten or none.
        pooled_linear_head: whether nothing but one linear layer, or nothing, follows average pooling.
        last: the layer that enters the pooling.
        stages: the last layer of each spatial resolution.
        layers: every layer that can be explained, in the order of computation.
    """

    model_sha256: str
    keras_version: str
    input_shapes: tuple[tuple[int | None, ...], ...]
    outputs: int
    activation: str
    pooling: str
    pooled_linear_head: bool
    last: str
    stages: tuple[str, ...]
    layers: tuple[Layer, ...]

    @property
    def image_shape(self) -> tuple[int | None, ...] | None:
        """Height, width and channels of the first input that takes images, None where there is none."""
        return next((shape for shape in self.input_shapes if len(shape) == 3), None)

    def layer(self, name: str) -> Layer:
        """Return the layer of that name."""
        return next(layer for layer in self.layers if layer.name == name)


def inspection_path_beside(model_path: Location) -> Location:
    """Return where `camshard inspect` leaves its findings: `model.keras` → `model.inspection.json`."""
    return model_path.with_suffix(".inspection.json")


def inspection_to_dict(inspection: Inspection) -> dict[str, Any]:
    """Return the findings as JSON-serialisable values."""
    return {"schema": SCHEMA, **asdict(inspection)}


def inspection_to_json(inspection: Inspection, source: ModelSource) -> str:
    """Return the findings, and what was said of the model file, as JSON text."""
    return json.dumps({**inspection_to_dict(inspection), "source": source.facts()}, indent=1)


def inspection_from_dict(document: dict[str, Any]) -> Inspection:
    """Build the findings from parsed JSON.

    Raises:
        ModelError: written by another version of camshard.
    """
    if document.get("schema") != SCHEMA:
        raise ModelError(
            f"inspection: schema {document.get('schema')!r} received, {SCHEMA} wanted. "
            "Run `camshard inspect` again."
        )
    return Inspection(
        **{
            **{name: value for name, value in document.items() if name not in ("schema", "source")},
            "input_shapes": tuple(tuple(shape) for shape in document["input_shapes"]),
            "stages": tuple(document["stages"]),
            "layers": tuple(
                Layer(one["name"], one["kind"], (one["shape"][0], one["shape"][1], one["shape"][2]))
                for one in document["layers"]
            ),
        }
    )
