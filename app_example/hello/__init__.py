"""An example app for Plainstack: a page that draws the path of the request that asked for it."""

import os
from collections.abc import Mapping
from pathlib import Path

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from hello import views


def create_app(environ: Mapping[str, str] = os.environ) -> Flask:
    """Make the app from its environment: PLAINSTACK_RELEASE, PLAINSTACK_SHARED and GREETING.

    Gunicorn calls this once and then forks, so nothing is opened here that would be shared
    by the workers: the database is opened for each use.
    """
    app = Flask(__name__)

    # A release is read-only. What must survive it lives in the shared directory.
    shared = Path(environ.get("PLAINSTACK_SHARED") or app.instance_path)
    if "PLAINSTACK_SHARED" not in environ:
        shared.mkdir(exist_ok=True)

    app.config.update(
        RELEASE=environ.get("PLAINSTACK_RELEASE") or "dev",
        GREETING=environ.get("GREETING") or None,
        DATABASE=shared / "hello.sqlite3",
    )

    # Exactly one proxy is believed, the nginx in front, which overwrites what a client sends.
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)  # type: ignore[method-assign]

    app.register_blueprint(views.pages)
    app.logger.info("release %s, database %s", app.config["RELEASE"], app.config["DATABASE"])
    return app
