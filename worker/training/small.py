"""A small convolutional net with a pooled linear head, trained on a CPU in about a minute."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from shared.images import prepare_image
from shared.model_spec import InputSpec, ModelSpec, spec_path_beside, write_spec

INPUT = InputSpec(size=(96, 128), channels=3, resize="stretch", interpolation="area", scale="0..1")
FILTERS = (16, 32, 64, 64)  # of the blocks; all but the last halve the picture
LAST_LAYER = f"block{len(FILTERS)}_out"
BATCH_SIZE = 16

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class TrainingSet:
    """Images float32 (count, height, width, 3), their class indices int64 (count,), the classes."""

    images: Floats
    class_indices: NDArray[np.int64]
    classes: tuple[str, ...]


def build_small(input_size: tuple[int, int], num_classes: int, seed: int) -> keras.Model:
    """Build the net: blocks of convolution, BatchNorm and ReLU, then average pooling and softmax.

    Args:
        input_size: height and width of the RGB input; the last feature maps have an eighth of it.
        num_classes: how many softmax units.
        seed: decides the first weights.
    """
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((*input_size, 3), name="image")
    tensor = inputs
    for block, filters in enumerate(FILTERS, start=1):
        tensor = keras.layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"block{block}_conv")(
            tensor
        )
        tensor = keras.layers.BatchNormalization(momentum=0.9, name=f"block{block}_bn")(tensor)
        tensor = keras.layers.ReLU(name=f"block{block}_out")(tensor)
        if block < len(FILTERS):
            tensor = keras.layers.MaxPooling2D(name=f"block{block}_pool")(tensor)
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(tensor)
    outputs = keras.layers.Dense(num_classes, activation="softmax", name="probabilities")(pooled)
    return keras.Model(inputs, outputs, name="small")


def train_small(train_csv: Path, image_dir: Path, model_path: Path, *, epochs: int, seed: int) -> None:
    """Train on every row of a CSV (image_id, dx) and save `model_path` and the spec beside it.

    Raises:
        ImageError: an image is missing or cannot be read.
    """
    data = load_images(train_csv, image_dir)
    model = build_small(INPUT.size, len(data.classes), seed)
    compile_for(model, epochs * -(-len(data.images) // BATCH_SIZE))
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        began = time.perf_counter()
        loss, accuracy = train_epoch(model, batches(rng, data))
        seconds = time.perf_counter() - began
        print(
            f"epoch {epoch}/{epochs}  loss {loss:.3f}  accuracy {accuracy:.3f}  {seconds:.1f} s",
            flush=True,
        )
    model.save(model_path)
    spec = ModelSpec("multiclass", data.classes, INPUT, layers=(LAST_LAYER,))
    write_spec(spec_path_beside(model_path), spec)


def compile_for(model: keras.Model, steps: int) -> None:
    """Give the model its loss and a learning rate that falls to zero over `steps` batches."""
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(
        optimizer=keras.optimizers.AdamW(rate, weight_decay=1e-3),
        loss="sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )


def train_epoch(model: keras.Model, epoch: Iterator[tuple[Floats, NDArray[np.int64]]]) -> tuple[float, float]:
    """Go through one epoch; return its mean loss and accuracy, as seen while the net learns."""
    sums, count = np.zeros(2), 0
    for images, class_indices in epoch:
        model.reset_metrics()
        sums += len(images) * np.array(model.train_on_batch(images, class_indices))
        count += len(images)
    loss, accuracy = sums / count
    return float(loss), float(accuracy)


def load_images(train_csv: Path, image_dir: Path) -> TrainingSet:
    """Read all images of a CSV into memory, prepared as they will be when explained."""
    frame = pd.read_csv(train_csv)
    classes = tuple(sorted(frame["dx"].unique()))
    paths = [image_dir / f"{image_id}.jpg" for image_id in frame["image_id"]]
    with ThreadPoolExecutor() as pool:
        images = np.stack(list(pool.map(lambda path: prepare_image(path, INPUT), paths)))
    class_indices = np.array([classes.index(label) for label in frame["dx"]], np.int64)
    return TrainingSet(images, class_indices, classes)


def batches(rng: np.random.Generator, data: TrainingSet) -> Iterator[tuple[Floats, NDArray[np.int64]]]:
    """Yield one epoch in random order, every image changed a little."""
    order = rng.permutation(len(data.images))
    for start in range(0, len(order), BATCH_SIZE):
        chosen = order[start : start + BATCH_SIZE]
        images = np.stack([vary_image(rng, image) for image in data.images[chosen]])
        yield images, data.class_indices[chosen]


def vary_image(rng: np.random.Generator, image: Floats) -> Floats:
    """Mirror, shift and relight one image, float32 (height, width, 3)."""
    height, width, _ = image.shape
    margin = height // 12
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    top, left = rng.integers(0, 2 * margin + 1, 2)
    varied = padded[top : top + height, left : left + width]
    varied = varied[:: rng.choice([-1, 1]), :: rng.choice([-1, 1])]
    light = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    return np.asarray(varied * light.astype(np.float32), np.float32)
