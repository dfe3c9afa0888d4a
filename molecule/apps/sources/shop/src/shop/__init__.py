"""A Flask app that a factory makes, with a queue that a worker works on."""

import os
import shutil

from flask import Flask

from shop.tasks import pack


def create_app(name: str, currency: str = "USD") -> Flask:
    """The app, with what the call has given."""
    app = Flask(__name__)

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.get("/about")
    def about() -> dict[str, str | None]:
        return {"name": name, "currency": currency, "tree": shutil.which("tree"), "release": os.environ["PLAINSTACK_RELEASE"]}

    @app.post("/orders/<order>/<int:seconds>")
    def order(order: str, seconds: int) -> str:
        pack(order, seconds)
        return "ordered"

    return app
