"""Convolutional nets small enough to compile in a second, and the way to explain them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from shared.model_spec import InputSpec, ModelSpec
from shared.request import ExplainRequest, Targets
from worker.explain import Explained, Explainer
from worker.graph import flatten_model
from worker.head import find_head
from worker.model import LoadedModel
from worker.precision import stored_policies

CLASSES = 3
PREDICTED = Targets("predicted", 1)
ALL = Targets("named", CLASSES, tuple(range(CLASSES)))


@dataclass(frozen=True)
class Net:
    """A model, what its logits' layer is called with, and that layer (None: these are the logits)."""

    model: keras.Model
    before: Any
    dense: Any = None


def conv_maps(inputs: Any, channels: int = 8) -> Any:
    """conv1 → bn1 → relu1 at 16×16, conv2 with ReLU at 8×8."""
    maps = layers.Conv2D(6, 3, 2, padding="same", name="conv1")(inputs)
    maps = layers.ReLU(name="relu1")(layers.BatchNormalization(name="bn1")(maps))
    return layers.Conv2D(channels, 3, 2, padding="same", activation="relu", name="conv2")(maps)


def net_of(head: Callable[[Any], tuple[Any, Any, Any]], channels: int = 8) -> Net:
    """Put a head, maps → (outputs, before, dense), on the convolutions."""
    inputs = keras.Input((32, 32, 3))
    outputs, before, dense = head(conv_maps(inputs, channels))
    return centred(Net(lively(keras.Model(inputs, outputs)), before, dense))


def lively(model: keras.Model) -> keras.Model:
    """Give every weight and moving average a value of its own, so that none can be forgotten unseen."""
    rng = np.random.default_rng(12)
    for variable in model.variables:
        if "seed" in variable.path:
            continue
        value = rng.normal(0.3, 0.4, variable.shape)
        if "kernel" in variable.path:
            value = rng.normal(0, 1.5 / np.sqrt(np.prod(variable.shape[:-1])), variable.shape)
        variable.assign(np.abs(value) + 0.5 if "variance" in variable.path else value)
    return model


def centred(net: Net) -> Net:
    """Spread the logits around 0, so that images differ in the class that is predicted."""
    if net.dense is not None:
        noise = np.random.default_rng(13).random((16, 32, 32, 3), np.float32)
        noise *= np.linspace(0, 1, 16, dtype=np.float32)[:, None, None, None]
        vectors = keras.Model(net.model.inputs[0], net.before)(noise).numpy()
        kernel = net.dense.kernel.numpy() / vectors.std(axis=0).mean()
        net.dense.set_weights([kernel, -(vectors @ kernel).mean(axis=0)])
    return net


def _dense(vector: Any, units: int, activation: str | None) -> tuple[Any, Any, Any]:
    dense = layers.Dense(units, activation=activation, name="head")
    return dense(vector), vector, dense


def _then(layer: Any, head: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    return (layer(head[0]), *head[1:])


def _pool(maps: Any) -> Any:
    return layers.GlobalAveragePooling2D(name="pool")(maps)


def _straight(maps: Any) -> tuple[Any, Any, Any]:
    pooled = _pool(maps)
    return layers.Softmax()(pooled), pooled, None


def _deep(maps: Any) -> tuple[Any, Any, Any]:
    return _dense(layers.Dense(6, "relu")(_pool(maps)), CLASSES, "softmax")


HEADS: dict[str, Callable[[Any], tuple[Any, Any, Any]]] = {
    "gap, dense softmax": lambda maps: _dense(_pool(maps), CLASSES, "softmax"),
    "gap, softmax": _straight,
    "gap, dense, Activation": lambda maps: _then(
        layers.Activation("softmax"), _dense(_pool(maps), CLASSES, None)
    ),
    "gap, dropout, dense, Softmax": lambda maps: _then(
        layers.Softmax(), _dense(layers.Dropout(0.9)(_pool(maps)), CLASSES, None)
    ),
    "gap, dense logits": lambda maps: _dense(_pool(maps), CLASSES, None),
    "gap, dense softmax of two": lambda maps: _dense(_pool(maps), 2, "softmax"),
    "gap, one sigmoid": lambda maps: _dense(_pool(maps), 1, "sigmoid"),
    "gap, sigmoids": lambda maps: _dense(_pool(maps), CLASSES, "sigmoid"),
    "gap, dense relu, dense": _deep,
    "gmp, dense": lambda maps: _dense(layers.GlobalMaxPooling2D()(maps), CLASSES, "softmax"),
    "flatten, dense": lambda maps: _dense(layers.Flatten()(maps), CLASSES, "softmax"),
}


def net(head: str) -> Net:
    """Return the net with one of `HEADS`."""
    return net_of(HEADS[head], channels=CLASSES if head == "gap, softmax" else 8)


def nested_net() -> Net:
    """A backbone model inside a model, after preprocessing inside a Sequential."""
    inside = keras.Input((32, 32, 3))
    backbone = keras.Model(inside, conv_maps(inside), name="backbone")
    scaling = keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Rescaling(2.0, -1.0, name="rescaling")], name="scaling"
    )
    inputs = keras.Input((32, 32, 3))
    outputs, before, dense = HEADS["gap, dense softmax"](backbone(scaling(inputs)))
    return centred(Net(lively(keras.Model(inputs, outputs)), before, dense))


def residual_net() -> Net:
    """Two residual blocks of 16×16 and 8×8; mid1 and mid2 are bypassed by skip connections."""
    inputs = keras.Input((32, 32, 3))
    maps = layers.Conv2D(6, 3, 2, padding="same", name="stem")(inputs)
    for block, stride in ((1, 1), (2, 2)):
        # not 1×1: TensorFlow 2.21's oneDNN corrupts memory in eager gradients of 1×1 filters with stride 2
        skip = layers.Conv2D(6, 3, 2, padding="same", name="skip2")(maps) if stride > 1 else maps
        mid = layers.Conv2D(6, 3, stride, padding="same", activation="relu", name=f"mid{block}")(maps)
        mid = layers.Conv2D(6, 3, padding="same", name=f"end{block}")(mid)
        maps = layers.Add(name=f"add{block}")([skip, mid])
        maps = layers.ReLU(name=f"out{block}")(layers.BatchNormalization(name=f"bn{block}")(maps))
    outputs, before, dense = HEADS["gap, dense softmax"](maps)
    return centred(Net(lively(keras.Model(inputs, outputs)), before, dense))


def loaded(model: keras.Model) -> LoadedModel:
    """Return a model in memory as `load_model` returns one from a file."""
    graph = flatten_model(model)
    return LoadedModel("in memory", model, graph, find_head(graph), stored_policies(model))


def spec_of(model: keras.Model, task: str, thresholds: dict[str, float] | None = None) -> ModelSpec:
    """Return a spec with the classes c0, c1, …"""
    number = 2 if task == "binary" else model.output_shape[1]
    classes = tuple(f"c{index}" for index in range(number))
    return ModelSpec(task, classes, InputSpec((32, 32), scale="0..1"), thresholds=thresholds or {})


def explainer_of(
    model: keras.Model,
    request: ExplainRequest,
    batch_size: int,
    spec: ModelSpec | None = None,
    xla: bool = False,
) -> Explainer:
    """Return the compiled explainer of a model in memory."""
    return Explainer(loaded(model), spec or spec_of(model, "multiclass"), request, batch_size, xla)


def explain(
    model: keras.Model, images: np.ndarray, request: ExplainRequest, spec: ModelSpec | None = None
) -> Explained:
    """Explain images as one batch, their labels unknown."""
    unknown = np.full((len(images), request.targets.ranks), -1, np.int32)
    return explainer_of(model, request, len(images), spec)((images,), unknown)
