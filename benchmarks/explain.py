"""Predictions and attributions against bare forward passes, in one process, in turn."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from shared.images import prepare_image
from shared.model_source import model_source
from shared.model_spec import read_spec_file, spec_from_dict, spec_to_dict
from shared.request import ExplainRequest, Targets

BATCH_SIZE = 16
_SIX = ("gradcam", "gradcam_plusplus", "hirescam", "layercam", "xgradcam")


def measure(model_path: Path, image_dir: Path, rounds: int) -> dict[str, list[float]]:
    """Return images/s of each round by name; a round takes every name once, over the same batch."""
    ways = _ways(model_path, image_dir)
    for run in ways.values():
        run()
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            found[name].append(BATCH_SIZE / (time.perf_counter() - began))
    return found


def _ways(model_path: Path, image_dir: Path) -> dict[str, Callable[[], object]]:
    import tensorflow as tf

    from worker.explain import Explainer
    from worker.model import load_model

    spec_path = model_path.with_suffix(".toml")
    spec = spec_from_dict(read_spec_file(spec_path), str(spec_path))
    paths = sorted(image_dir.glob("*.jpg"))[:BATCH_SIZE]
    batch = np.stack([prepare_image(path, spec.input) for path in paths])
    loaded = load_model(model_source(model_path, spec_to_dict(spec)), trust_model=False)
    model, inspection = loaded.keras_model, loaded.inspect()
    last, stages = inspection.last, inspection.stages

    def forward(jit_compile: bool) -> Callable[[], object]:
        compiled = tf.function(lambda images: model(images, training=False), jit_compile=jit_compile)
        return lambda: compiled(tf.constant(batch)).numpy()

    def explained(pairs: list[tuple[str, str]], targets: Targets) -> Callable[[], object]:
        explainer = Explainer(loaded, spec, ExplainRequest(tuple(pairs), targets), BATCH_SIZE)
        unknown = np.full((BATCH_SIZE, targets.ranks), -1, np.int32)
        return lambda: explainer((batch,), unknown)

    predicted = Targets("predicted", 1)
    every = Targets("named", len(spec.classes), tuple(range(len(spec.classes))))
    return {
        "predict": lambda: model.predict(batch, batch_size=BATCH_SIZE, verbose=0),
        "forward": forward(True),
        "forward_no_xla": forward(False),
        "cam_all_classes": explained([("cam", last)], every),
        "gradcam_last": explained([("gradcam", last)], predicted),
        "gradcam_stages": explained([("gradcam", stage) for stage in stages], predicted),
        "six_methods_stages": explained(
            [("cam", last), *((method, stage) for method in _SIX for stage in stages)], predicted
        ),
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))
