"""camshard itself: the compiled function that a worker calls, with predictions and targets."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from benchmarks.peers.case import BATCH_SIZE, LAST, STAGES, Case, read_case
from benchmarks.peers.turns import Ways, take_turns
from shared.model_source import model_source
from shared.model_spec import read_spec_file, spec_from_dict, spec_to_dict
from shared.request import ExplainRequest, Targets
from worker.explain import Explainer
from worker.model import load_model


def ways_of(case: Case) -> Ways:
    """Return the bare forward pass, and Grad-CAM for the predicted class at one layer and at four."""
    spec_path = case.model_path.with_suffix(".toml")
    spec = spec_from_dict(read_spec_file(spec_path), str(spec_path))
    loaded = load_model(model_source(case.model_path, spec_to_dict(spec)), trust_model=False)
    compiled = tf.function(lambda images: loaded.keras_model(images, training=False))
    no_labels = np.full((BATCH_SIZE, 1), -1, np.int32)

    def gradcam(layers: tuple[str, ...]) -> Callable[[], list[np.ndarray]]:
        pairs = tuple(("gradcam", layer) for layer in layers)
        explainer = Explainer(loaded, spec, ExplainRequest(pairs, Targets("predicted", 1)), BATCH_SIZE)

        def explain() -> list[np.ndarray]:
            found = explainer((case.images,), no_labels).attributions
            return [found[pair][:, 0] for pair in pairs]

        return explain

    return {
        "forward": lambda: [compiled(tf.constant(case.images)).numpy()],
        "gradcam_last": gradcam((LAST,)),
        "gradcam_stages": gradcam(STAGES),
    }


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    take_turns("camshard", _folder, ways_of(read_case(_folder)))
