"""tf-keras-vis: one call a layer, maps left at the layer's size."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.utils.scores import CategoricalScore

from benchmarks.peers.case import LAST, STAGES, Case, load_keras_model, read_case
from benchmarks.peers.turns import Ways, take_turns


def ways_of(case: Case) -> Ways:
    """Return Grad-CAM for the given classes at one layer and at four."""
    gradcam = Gradcam(load_keras_model(case))
    score = CategoricalScore(case.targets.tolist())

    def explain(layers: tuple[str, ...]) -> Callable[[], list[np.ndarray]]:
        return lambda: [
            gradcam(
                score,
                case.images,
                penultimate_layer=layer,
                seek_penultimate_conv_layer=False,
                expand_cam=False,
            )
            for layer in layers
        ]

    return {"gradcam_last": explain((LAST,)), "gradcam_stages": explain(STAGES)}


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    take_turns("tf_keras_vis", _folder, ways_of(read_case(_folder)))
