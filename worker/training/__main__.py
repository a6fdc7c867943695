"""Training as a process of its own: `python -m worker.training --metadata CSV --images DIR --model PATH`."""

import argparse
from pathlib import Path

from worker.process import load_tensorflow


def main() -> None:
    """Train the small net and save it with its spec, printing a line an epoch."""
    parser = argparse.ArgumentParser(prog="python -m worker.training", description=main.__doc__)
    parser.add_argument("--metadata", type=Path, required=True, help="CSV with image_id and dx")
    parser.add_argument("--images", type=Path, required=True, help="folder of <image_id>.jpg")
    parser.add_argument("--model", type=Path, required=True, help="where to save, .keras")
    parser.add_argument("--epochs", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    load_tensorflow()
    from worker.training.small import train_small

    train_small(given.metadata, given.images, given.model, epochs=given.epochs, seed=given.seed)


if __name__ == "__main__":
    main()
