"""Grad-CAM at the four stages in float64, by PyTorch alone: what every system's rounding is measured by."""

import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.case import STAGES, Case, read_case
from benchmarks.peers.torch_resnet import STAGE_NAMES, load_torch_model, torch_images


def compute_exactly(case: Case) -> dict[str, np.ndarray]:
    """Return float64 (batch, height, width) a stage, before the ReLU."""
    model, found = load_torch_model(case).double(), torch_images(case).double()
    found = model.maxpool(model.relu(model.bn1(model.conv1(found))))
    feature_maps = []
    for name in STAGE_NAMES:
        found = getattr(model, name)(found)
        feature_maps.append(found)
    logits = model.fc(found.mean(dim=(2, 3)))
    scores = logits[torch.arange(len(logits)), torch.from_numpy(case.targets)]
    gradients = torch.autograd.grad(scores.sum(), feature_maps)
    return {
        layer: (maps * gradient.mean(dim=(2, 3), keepdim=True)).sum(dim=1).detach().numpy()
        for layer, maps, gradient in zip(STAGES, feature_maps, gradients, strict=True)
    }


if __name__ == "__main__":
    _folder = Path(sys.argv[1])
    np.savez(_folder / "exact.npz", **compute_exactly(read_case(_folder)))
