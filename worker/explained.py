"""What explaining a batch yields."""

from typing import Any, NamedTuple


class Explained(NamedTuple):
    """What the compiled function yields for a batch.

    Attributes:
        logits, probabilities: float32 (batch, classes); one sigmoid unit z is stored as 0, z.
        predictions: int32 (batch,) class index; multilabel: (batch, classes), 1 or 0.
        targets: int32 (batch, ranks), -1 none.
        attributions: by (method, layer): float32 (batch, ranks, height, width), NaN where no target.
        features: float32 (batch, channels), the mean of the last feature maps; None if not asked for.
    """

    logits: Any
    probabilities: Any
    predictions: Any
    targets: Any
    attributions: dict[tuple[str, str], Any]
    features: Any = None
