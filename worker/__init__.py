"""What explains: Celery workers, and the only place that imports TensorFlow."""

from pathlib import Path

import shared

if Path(shared.__file__ or "").resolve().parents[1] != Path(__file__).resolve().parents[1]:
    raise ImportError(
        f"{shared.__file__}: a foreign package named 'shared' hides camshard's own. Start from another "
        "folder, take that one off PYTHONPATH, or give camshard an environment of its own."
    )
