"""torch-cam: all layers in one backward pass, and PyTorch's bare forward pass for the ratio."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchcam.methods import GradCAM

from benchmarks.peers.case import Case, read_case
from benchmarks.peers.torch_resnet import STAGE_NAMES, load_torch_model, torch_images
from benchmarks.peers.turns import Ways, take_turns


def ways_of(case: Case) -> Ways:
    """Return the bare forward pass, and Grad-CAM for the predicted class at one layer and at four."""
    model, images = load_torch_model(case), torch_images(case)

    def forward() -> list[np.ndarray]:
        with torch.inference_mode():
            return [model(images).numpy()]

    def explain(layers: list[str]) -> Callable[[], list[np.ndarray]]:
        def gradcam() -> list[np.ndarray]:
            with GradCAM(model, layers) as extractor:
                logits = model(images)
                maps = extractor(logits.argmax(dim=1).tolist(), logits)
            return [one.numpy() for one in maps]

        return gradcam

    return {
        "forward": forward,
        "gradcam_last": explain([STAGE_NAMES[-1]]),
        "gradcam_stages": explain(list(STAGE_NAMES)),
    }


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    take_turns("torchcam", _folder, ways_of(read_case(_folder)))
