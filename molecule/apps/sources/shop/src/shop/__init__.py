"""A Flask app that a factory makes, with a queue that a worker works on."""

import os
import resource
import shutil
from pathlib import Path

from flask import Flask, request

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

    @app.get("/around")
    def around() -> dict[str, object]:
        (Path.home() / "written").write_text("", encoding="utf-8")
        return {
            "address": request.environ["REMOTE_ADDR"],
            "config": Path(os.environ["CONFIG"]).read_text(encoding="utf-8"),
            "temporary": shutil.disk_usage("/tmp").total,
            "files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        }

    @app.post("/orders/<order>/<int:seconds>")
    def order(order: str, seconds: int) -> str:
        pack(order, seconds)
        return "ordered"

    return app
