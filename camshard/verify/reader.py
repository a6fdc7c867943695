"""A process that reads HDF5 files and says what is wrong: `python -m camshard.verify.reader RUN`.

One request a line on standard input, one answer a line on standard output, both JSON.
"""

import json
import math
import resource
import sys
from pathlib import Path

from camshard.verify.file_check import FileRequest, check_file
from camshard.verify.layout import ExpectedLayout
from shared.run import Run, read_run

_LEAST_CPU_S = 30
_BYTES_PER_CPU_S = 5_000_000  # far slower than any processor reads and inflates


def main() -> None:
    """Answer requests until the input ends: the one who asks has ended, too."""
    run = read_run(Path(sys.argv[1]))
    layout = ExpectedLayout(run)
    for line in sys.stdin:
        document = json.loads(line)
        document["recorded"] = tuple((size, digest) for size, digest in document["recorded"])
        request = FileRequest(**document)
        _limit_cpu_time(request, run, layout)
        sys.stdout.write(check_file(run, request, layout).to_json() + "\n")
        sys.stdout.flush()


def _limit_cpu_time(request: FileRequest, run: Run, layout: ExpectedLayout) -> None:
    """Have the system end this process if a file keeps it busy for far longer than it can: HDF5 may loop."""
    rows = run.num_records if request.shard < 0 else len(run.shard_rows(request.shard))
    inflated = sum(math.prod(one.shape) * one.dtype.itemsize for one in layout.of_rows(rows).values())
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    limit = int(used) + _LEAST_CPU_S + (request.num_bytes + inflated) // _BYTES_PER_CPU_S
    most = resource.getrlimit(resource.RLIMIT_CPU)[1]
    limit = limit if most == resource.RLIM_INFINITY else min(limit, most)
    resource.setrlimit(resource.RLIMIT_CPU, (limit, most))


if __name__ == "__main__":
    main()
