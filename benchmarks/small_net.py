"""A net of a few convolutions with seven classes, whose batches take milliseconds."""

from pathlib import Path

from benchmarks.resnet import CLASSES
from shared.model_spec import InputSpec, ModelSpec, write_spec

SIZE = (48, 64)


def make_small_net(model_path: Path) -> Path:
    """Save three convolutions, global average pooling and Dense(7), untrained, with the spec beside it."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(11)
    inputs = keras.Input((*SIZE, 3))
    maps = inputs
    for number, filters in enumerate((8, 16, 32), start=1):
        maps = layers.Conv2D(filters, 3, 2, padding="same", activation="relu", name=f"conv{number}")(maps)
    outputs = layers.Dense(len(CLASSES), activation="softmax")(layers.GlobalAveragePooling2D()(maps))
    keras.Model(inputs, outputs).save(model_path)
    write_spec(
        model_path.with_suffix(".toml"), ModelSpec("multiclass", CLASSES, InputSpec(SIZE, scale="0..1"))
    )
    return model_path
