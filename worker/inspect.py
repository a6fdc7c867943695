"""Inspection as a process of its own: `python -m worker.inspect SOURCE` prints one line of JSON."""

import argparse
import json

from shared.errors import CamshardError
from shared.inspection import Inspection, inspection_to_dict
from shared.model_source import ModelSource, source_from_json
from worker.process import load_tensorflow


def inspect_file(source: ModelSource, trust_model: bool) -> Inspection:
    """Load a model and return what planning must know.

    Raises:
        ModelError: the file is no model, or cannot be explained.
        MissingExtraError: TensorFlow is not installed.
    """
    load_tensorflow()
    from worker.model import load_model

    return load_model(source, trust_model).inspect()


def main() -> None:
    """Print the inspection, or `{"error": …, "message": …}`, as the last line."""
    parser = argparse.ArgumentParser(prog="python -m worker.inspect")
    parser.add_argument("source", type=source_from_json, help="a ModelSource as JSON")
    parser.add_argument("--trust-model", action="store_true")
    arguments = parser.parse_args()
    try:
        print(json.dumps(inspection_to_dict(inspect_file(arguments.source, arguments.trust_model))))
    except CamshardError as error:
        print(json.dumps({"error": type(error).__name__, "message": str(error)}))


if __name__ == "__main__":
    main()
