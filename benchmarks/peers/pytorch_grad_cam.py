"""pytorch-grad-cam: four layers in one call, kept apart instead of averaged; resized to the input's size."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from pytorch_grad_cam import GradCAM

from benchmarks.peers.case import Case, read_case
from benchmarks.peers.torch_resnet import STAGE_NAMES, load_torch_model, torch_images
from benchmarks.peers.turns import Ways, take_turns


class EveryLayer(GradCAM):
    """Grad-CAM that yields each layer's map, which saves one call a layer."""

    def aggregate_multi_layers(self, cam_per_target_layer: list[np.ndarray]) -> list[np.ndarray]:
        """Return the maps as they are: (batch, height, width) a layer."""
        return [one[:, 0] for one in cam_per_target_layer]


def ways_of(case: Case) -> Ways:
    """Return Grad-CAM for the predicted class at one layer and at four."""
    model, images = load_torch_model(case), torch_images(case)

    def explain(layers: tuple[str, ...]) -> Callable[[], list[np.ndarray]]:
        def gradcam() -> list[np.ndarray]:
            with EveryLayer(model, [getattr(model, layer) for layer in layers]) as cam:
                return cam(images, targets=None)

        return gradcam

    return {"gradcam_last": explain(STAGE_NAMES[-1:]), "gradcam_stages": explain(STAGE_NAMES)}


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    take_turns("pytorch_grad_cam", _folder, ways_of(read_case(_folder)))
