"""Xplique: one compiled explainer a layer; maps come resized to the input's size."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from xplique.attributions import GradCAM

from benchmarks.peers.case import BATCH_SIZE, LAST, STAGES, Case, load_keras_model, read_case
from benchmarks.peers.turns import Ways, take_turns


def ways_of(case: Case) -> Ways:
    """Return Grad-CAM for the given classes at one layer and at four."""
    model = load_keras_model(case)
    one_hot = np.eye(model.output_shape[1], dtype=np.float32)[case.targets]

    def explain(layers: tuple[str, ...]) -> Callable[[], list[np.ndarray]]:
        explainers = [GradCAM(model, batch_size=BATCH_SIZE, conv_layer=layer) for layer in layers]
        return lambda: [explainer(case.images, one_hot).numpy()[..., 0] for explainer in explainers]

    return {"gradcam_last": explain((LAST,)), "gradcam_stages": explain(STAGES)}


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    take_turns("xplique", _folder, ways_of(read_case(_folder)))
