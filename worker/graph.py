"""A Keras model as a flat list of steps, nested models opened."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import keras

from shared.errors import ModelError
from worker.open_model import is_model, model_inputs, open_model


@dataclass(frozen=True)
class Step:
    """One call of one operation.

    Attributes:
        name: the operation's path through nested models, `backbone/block5_conv3`; a second call of the
            same operation is `…:1`.
        arguments: the call's arguments, with symbolic tensors where values go in.
        sources: from a symbolic tensor's id to the slot of its value.
        outputs: the slots of the results.
    """

    name: str
    operation: Any
    arguments: Any
    sources: dict[int, int]
    outputs: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The operation's class name."""
        return type(self.operation).__name__

    @property
    def inputs(self) -> tuple[int, ...]:
        """The slots of the arguments."""
        return tuple(self.sources[id(tensor)] for tensor in self.arguments.keras_tensors)

    def call(self, values: dict[int, Any]) -> None:
        """Compute the results in inference mode from the arguments in `values`, and add them there."""

        def value_of(argument: Any) -> Any:
            return values[self.sources[id(argument)]] if _is_symbolic(argument) else argument

        args, kwargs = self.arguments.convert(value_of)
        if getattr(self.operation, "_call_has_training_arg", False):
            kwargs["training"] = False
        results = keras.tree.flatten(self.operation(*args, **kwargs))
        values.update(zip(self.outputs, results, strict=True))


@dataclass(frozen=True)
class Graph:
    """All steps of a model in the order of computation.

    Attributes:
        inputs: slots of the model's inputs.
        output: slot of its one output.
        tensors: symbolic tensor of every slot, the batch axis first.
    """

    inputs: tuple[int, ...]
    output: int
    steps: tuple[Step, ...]
    tensors: tuple[Any, ...]

    @cached_property
    def shapes(self) -> tuple[tuple[int | None, ...], ...]:
        """The shape of every slot's value, the batch axis first."""
        return tuple(tuple(tensor.shape) for tensor in self.tensors)

    @cached_property
    def producers(self) -> dict[int, Step]:
        """The step that computes each slot."""
        return {slot: step for step in self.steps for slot in step.outputs}

    @cached_property
    def consumers(self) -> dict[int, list[Step]]:
        """The steps that use each slot."""
        found: dict[int, list[Step]] = {}
        for step in self.steps:
            for slot in step.inputs:
                found.setdefault(slot, []).append(step)
        return found

    def has_pixels(self, slot: int) -> bool:
        """Tell whether a slot holds feature maps: (batch, height, width, channels) of known size."""
        shape = self.shapes[slot]
        return len(shape) == 4 and None not in shape[1:]

    def upstream(self, slot: int) -> set[int]:
        """Return the slots that a slot's value depends on, itself included."""
        needed = {slot}
        for step in reversed(self.steps):
            if needed.intersection(step.outputs):
                needed.update(step.inputs)
        return needed

    def downstream(self, slots: set[int]) -> set[int]:
        """Return the slots whose values depend on any of `slots`, these not included."""
        reached: set[int] = set()
        for step in self.steps:
            if (slots | reached).intersection(step.inputs):
                reached.update(step.outputs)
        return reached


def flatten_model(model: keras.Model, size: tuple[int, int] | None = None) -> Graph:
    """Open a model into its steps, as if it had been called on images of `size` (height, width).

    Functional and Sequential models are opened, and models of a class of their own whose `call` Keras can
    trace, nested to any depth. Sizes that the model leaves open are those of `size`.

    Raises:
        ModelError: Keras cannot tell the model's graph, its input has no fixed size, or it has several
            outputs.
    """
    builder = _Builder()
    inputs = tuple(builder.new_slot(tensor) for tensor in model_inputs(model, size))
    outputs = builder.add(model, inputs, "")
    if len(outputs) != 1:
        raise ModelError(
            f"model {model.name!r} has {len(outputs)} outputs; one is wanted. "
            "Save the one to explain as keras.Model(model.inputs, model.outputs[0])."
        )
    return Graph(inputs, outputs[0], tuple(builder.steps), tuple(builder.tensors))


@dataclass
class _Builder:
    steps: list[Step] = field(default_factory=list)
    tensors: list[Any] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    def new_slot(self, tensor: Any) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add(self, model: keras.Model, inputs: Sequence[int], prefix: str) -> list[int]:
        """Append the steps of a model that is called on the values of some slots; return its outputs'."""
        functional = open_model(model, [self.tensors[slot] for slot in inputs])
        slots = {id(tensor): slot for tensor, slot in zip(functional.inputs, inputs, strict=True)}
        by_depth = functional._nodes_by_depth
        for node in (node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]):
            if node.is_input or any(id(tensor) not in slots for tensor in node.input_tensors):
                continue
            if is_model(node.operation):
                results = self._add_nested(node, slots, prefix)
            else:
                results = self._add_step(node, slots, prefix)
            slots.update(zip(map(id, node.outputs), results, strict=True))
        return [slots[id(tensor)] for tensor in functional.outputs]

    def _add_step(self, node: Any, slots: dict[int, int], prefix: str) -> tuple[int, ...]:
        path = prefix + node.operation.name
        name = f"{path}:{self.calls[path]}" if self.calls[path] else path
        self.calls[path] += 1
        sources = {id(tensor): slots[id(tensor)] for tensor in node.input_tensors}
        outputs = tuple(self.new_slot(tensor) for tensor in self._symbolic_results(node, sources))
        self.steps.append(Step(name, node.operation, node.arguments, sources, outputs))
        return outputs

    def _add_nested(self, node: Any, slots: dict[int, int], prefix: str) -> list[int]:
        inputs = [slots[id(tensor)] for tensor in node.input_tensors]
        return self.add(node.operation, inputs, f"{prefix}{node.operation.name}/")

    def _symbolic_results(self, node: Any, sources: dict[int, int]) -> list[Any]:
        """Return the tensors of a call's results; anew where its inputs have other shapes than when built."""
        given = {key: self.tensors[slot] for key, slot in sources.items()}
        if all(tensor.shape == given[id(tensor)].shape for tensor in node.input_tensors):
            return list(node.outputs)
        args, kwargs = node.arguments.convert(
            lambda argument: given[id(argument)] if _is_symbolic(argument) else argument
        )
        return keras.tree.flatten(node.operation.compute_output_spec(*args, **kwargs))


def _is_symbolic(value: Any) -> bool:
    return isinstance(value, keras.KerasTensor)
