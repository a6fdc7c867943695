"""What every system is given: one ResNet50 with seven classes and one batch of images, as files."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

BATCH_SIZE = 16
STAGES = ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out", "conv5_block3_out")
LAST = STAGES[-1]
_STATISTICS_IMAGES = 48


class Case(NamedTuple):
    """Files in one folder; a peer reads them without any of camshard's dependencies.

    Attributes:
        images: float32 (16, 224, 224, 3), 0..1.
        targets: int64 (16,), the predicted classes.
    """

    folder: Path
    images: np.ndarray
    targets: np.ndarray

    @property
    def model_path(self) -> Path:
        """The Keras model with its softmax."""
        return self.folder / "resnet50.keras"

    @property
    def weights_path(self) -> Path:
        """The same weights by layer and place: conv1_conv/0, conv1_conv/1, …"""
        return self.folder / "weights.npz"


def read_case(folder: Path) -> Case:
    """Read what `make_case` wrote."""
    with np.load(folder / "batch.npz") as batch:
        return Case(folder, batch["images"], batch["targets"])


def make_case(folder: Path, image_paths: list[Path]) -> None:
    """Write the model, its weights and the batch: these images, repeated up to 16, or made-up lesions."""
    from benchmarks.resnet import make_resnet50
    from camshard.lesions import make_lesion_set
    from shared.images import prepare_image
    from shared.model_spec import read_spec_file, spec_from_dict

    case = Case(folder, np.empty(0), np.empty(0))
    make_lesion_set(folder, count=_STATISTICS_IMAGES)
    made_up = sorted((folder / "images").glob("*.jpg"))
    make_resnet50(case.model_path, made_up)
    spec_path = case.model_path.with_suffix(".toml")
    spec = spec_from_dict(read_spec_file(spec_path), str(spec_path))
    chosen = image_paths or made_up
    chosen = [chosen[place % len(chosen)] for place in range(BATCH_SIZE)]
    images = np.stack([prepare_image(path, spec.input) for path in chosen])
    np.savez(folder / "batch.npz", images=images, targets=_write_weights(case, images))


def load_keras_model(case: Case) -> Any:
    """Load the model with its softmax taken off, as Grad-CAM wants it and peers tell their users to."""
    import keras

    model = keras.models.load_model(case.model_path, compile=False)
    model.layers[-1].activation = keras.activations.linear
    return model


def _write_weights(case: Case, images: np.ndarray) -> np.ndarray:
    """Write every layer's weights and return the predicted classes, int64 (batch,)."""
    model = load_keras_model(case)
    arrays = {
        f"{layer.name}/{place}": array
        for layer in model.layers
        for place, array in enumerate(layer.get_weights())
    }
    np.savez(case.weights_path, **arrays)
    return model.predict(images, batch_size=BATCH_SIZE, verbose=0).argmax(axis=1)


if __name__ == "__main__":
    make_case(Path(sys.argv[1]), [Path(path) for path in sys.argv[2:]])
