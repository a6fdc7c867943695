"""The Celery app of the workers: `celery -A worker.app worker` starts one."""

from shared.settings import load_settings
from worker.celery_worker import make_worker_app
from worker.process import load_for_place
from worker.session import this_session

app = make_worker_app(load_settings({}), this_session, load_for_place)
