"""Settings of Gunicorn's that come with the app."""

import os

loglevel = "debug"


def post_worker_init(worker: object) -> None:
    """Say that it was called."""
    os.environ["HOOK"] = "called"
