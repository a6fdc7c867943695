"""`python -m worker`: a Celery worker, without the working directory on the import path."""

import sys

from worker.app import app

if __name__ == "__main__":
    app.worker_main(["worker", "--loglevel", "INFO", "--without-gossip", "--without-mingle", *sys.argv[1:]])
