"""A Flask app that a factory makes."""

import shutil

from flask import Flask


def create_app(name: str, currency: str = "USD") -> Flask:
    """The app, with what the call has given."""
    app = Flask(__name__)

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.get("/about")
    def about() -> dict[str, str | None]:
        return {"name": name, "currency": currency, "tree": shutil.which("tree")}

    return app
