"""The same network in PyTorch: torchvision's ResNet50 with the strides and weights of Keras'."""

import numpy as np
import torch
from torchvision.models import ResNet, resnet50

from benchmarks.peers.case import Case

STAGE_NAMES = ("layer1", "layer2", "layer3", "layer4")
_BLOCKS = (3, 4, 6, 3)
_EPSILON = 1.001e-5  # of Keras' ResNet50


def load_torch_model(case: Case) -> ResNet:
    """Return the network in evaluation mode; its outputs are logits."""
    model = resnet50(weights=None)
    with np.load(case.weights_path) as weights, torch.no_grad():
        _take(model.conv1, model.bn1, weights, "conv1")
        for stage, blocks in enumerate(_BLOCKS):
            for block in range(blocks):
                _take_block(
                    getattr(model, STAGE_NAMES[stage])[block],
                    weights,
                    f"conv{stage + 2}_block{block + 1}",
                )
        kernel, bias = weights["head/0"], weights["head/1"]
        model.fc = torch.nn.Linear(*kernel.shape)
        model.fc.weight.copy_(torch.from_numpy(kernel.T))
        model.fc.bias.copy_(torch.from_numpy(bias))
    return model.eval()


def torch_images(case: Case) -> torch.Tensor:
    """Return the batch, float32 (batch, 3, height, width)."""
    return torch.from_numpy(np.ascontiguousarray(case.images.transpose(0, 3, 1, 2)))


def _take_block(block: torch.nn.Module, weights: np.lib.npyio.NpzFile, name: str) -> None:
    """Copy a bottleneck block; Keras strides in its first convolution, torchvision in its second."""
    block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    for place in (1, 2, 3):
        _take(getattr(block, f"conv{place}"), getattr(block, f"bn{place}"), weights, f"{name}_{place}")
    if block.downsample is not None:
        _take(*block.downsample, weights, f"{name}_0")


def _take(
    conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d, weights: np.lib.npyio.NpzFile, name: str
) -> None:
    """Copy a convolution and its norm; the bias, which torchvision lacks, goes into the norm's mean."""
    kernel, bias = weights[f"{name}_conv/0"], weights[f"{name}_conv/1"]
    gamma, beta, mean, variance = (weights[f"{name}_bn/{place}"] for place in range(4))
    conv.weight.copy_(torch.from_numpy(kernel.transpose(3, 2, 0, 1)))
    norm.weight.copy_(torch.from_numpy(gamma))
    norm.bias.copy_(torch.from_numpy(beta))
    norm.running_mean.copy_(torch.from_numpy(mean - bias))
    norm.running_var.copy_(torch.from_numpy(variance))
    norm.eps = _EPSILON
