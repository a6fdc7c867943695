"""The bare compiled forward pass over batches in memory: python -m benchmarks.forward MODEL IMAGES BATCH."""

import sys
import time
from pathlib import Path

import numpy as np

from shared.images import prepare_image
from shared.model_spec import read_spec_file, spec_from_dict


def forward_images_per_s(model_path: Path, image_dir: Path, batch_size: int) -> float:
    """Return images/s of an XLA-compiled forward pass, the first batch (compilation) left out."""
    import keras
    import tensorflow as tf

    spec_path = model_path.with_suffix(".toml")
    spec = spec_from_dict(read_spec_file(spec_path), str(spec_path))
    paths = sorted(image_dir.glob("*.jpg"))
    images = np.stack([prepare_image(path, spec.input) for path in paths])
    model = keras.models.load_model(model_path, compile=False)
    forward = tf.function(lambda batch: model(batch, training=False), jit_compile=True)
    batches = [images[at : at + batch_size] for at in range(0, len(images) - batch_size + 1, batch_size)]
    forward(tf.constant(batches[0])).numpy()
    began = time.perf_counter()
    for batch in batches[1:]:
        forward(tf.constant(batch)).numpy()
    return batch_size * (len(batches) - 1) / (time.perf_counter() - began)


if __name__ == "__main__":
    print(forward_images_per_s(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
