"""From prepared images and their records to what the model is called with."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from shared.errors import ModelError
from shared.model_source import file_sha256
from shared.run import ADAPTER_FILE, Run
from worker.graph import Graph
from worker.trusted_code import load_function


class Adapter:
    """A function of the user's, `make_inputs(images, records)`, and the inputs that it must fill.

    It is called with float32 images (n, height, width, channels) as the spec prepares them, zero where an
    image failed, and a DataFrame of their n records: `image_id` and the metadata columns under their own
    names. It returns one array (n, …) for each of the model's inputs, as a list in the model's order or as a
    dict by the inputs' names.
    """

    def __init__(self, function: Any, name: str, graph: Graph):
        self._function = function
        self._name = name
        self._tensors = [graph.tensors[slot] for slot in graph.inputs]

    def __call__(self, images: np.ndarray, records: pd.DataFrame) -> tuple[np.ndarray, ...]:
        """Return an array for each input of the model, in its dtype.

        Raises:
            ModelError: the function raises, or returns something else than the model takes.
        """
        try:
            made = self._function(images, records)
        except Exception as error:  # it is foreign code: it may raise anything
            raise ModelError(f"adapter {self._name}: raised {type(error).__name__}: {error}.") from error
        names = [tensor.name for tensor in self._tensors]
        if isinstance(made, dict):
            if set(made) != set(names):
                raise self._wrong(f"a dict of {sorted(made)}")
            made = [made[name] for name in names]
        arrays = list(made) if isinstance(made, list | tuple) else [made]
        if len(arrays) != len(names):
            raise self._wrong(f"{len(arrays)} arrays")
        return tuple(
            self._checked(np.asarray(array), tensor, len(images))
            for array, tensor in zip(arrays, self._tensors, strict=True)
        )

    def _checked(self, array: np.ndarray, tensor: Any, number: int) -> np.ndarray:
        if array.shape != (number, *tensor.shape[1:]):
            raise self._wrong(f"an array {array.shape} for {number} images and the input {tensor.name!r}")
        return array.astype(tensor.dtype, copy=False)

    def _wrong(self, received: str) -> ModelError:
        wanted = ", ".join(f"{tensor.name!r} {('n', *tensor.shape[1:])}" for tensor in self._tensors)
        return ModelError(f"adapter {self._name}: returned {received}; the model's inputs are {wanted}.")


def adapter_of(run: Run, graph: Graph, trust_model: bool) -> Adapter | None:
    """Return the adapter of a run, from the copy in its directory, None where it has none.

    Raises:
        ModelError: it is not trusted, not there, or not what was planned.
    """
    if run.spec.adapter is None:
        return None
    name = run.spec.adapter.rpartition(":")[2]
    return load_adapter(f"{checked_code(run, ADAPTER_FILE)}:{name}", graph, trust_model)


def load_adapter(place: str, graph: Graph, trust_model: bool) -> Adapter:
    """Return the adapter at `path:function`.

    Raises:
        ModelError: it is not trusted, or not there.
    """
    path, _, name = place.rpartition(":")
    return Adapter(load_function(Path(path), name, trust_model), place, graph)


def checked_code(run: Run, name: str) -> Path:
    """Return the path of a run's copy of a Python file, which must be the one that was planned.

    Raises:
        ModelError: it was altered since.
    """
    path = run.dir / name
    if file_sha256(path) != run.code[name]:
        raise ModelError(f"{path}: altered since run {run.run_id} was planned. Plan a new run.")
    return path
