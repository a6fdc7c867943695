"""A ResNet50 with seven classes that behaves like a trained one, without weights from outside."""

import sys
from pathlib import Path

import numpy as np

from shared.images import prepare_image
from shared.model_spec import InputSpec, ModelSpec, write_spec

SIZE = (224, 224)
CLASSES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")
_SEED = 11


def make_resnet50(model_path: Path, image_paths: list[Path]) -> None:
    """Save ResNet50 + global average pooling + Dense(7): seeded weights, statistics of real images.

    BatchNorm's moving averages are taken from the images, and the head is centred and scaled so that
    several classes are predicted; otherwise every image would look the same to the net.
    """
    import keras

    keras.utils.set_random_seed(_SEED)
    backbone = keras.applications.ResNet50(include_top=False, weights=None, input_shape=(*SIZE, 3))
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(backbone.output)
    head = keras.layers.Dense(len(CLASSES), activation="softmax", name="head")
    model = keras.Model(backbone.input, head(pooled))
    spec = ModelSpec("multiclass", CLASSES, InputSpec(SIZE, scale="0..1"), ("conv5_block3_out",))
    images = np.stack([prepare_image(path, spec.input) for path in image_paths])
    _take_statistics(model, images)
    features = keras.Model(model.input, pooled).predict(images, verbose=0)
    centred = features - features.mean(axis=0)
    kernel = np.random.default_rng(_SEED).normal(size=(features.shape[1], len(CLASSES)))
    kernel *= 0.25 / (centred @ kernel).std(axis=0)
    head.set_weights([kernel, -features.mean(axis=0) @ kernel])
    model.save(model_path)
    write_spec(model_path.with_suffix(".toml"), spec)


def _take_statistics(model: object, images: np.ndarray) -> None:
    """Set BatchNorm's moving averages to the batch's own, layer after layer in one training-mode pass."""
    import keras

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 0.0
    model(images, training=True)
    for layer, momentum in zip(norms, momenta, strict=True):
        layer.momentum = momentum


if __name__ == "__main__":
    make_resnet50(Path(sys.argv[1]), sorted(Path(sys.argv[2]).glob("*.jpg"))[:48])
