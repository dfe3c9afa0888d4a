"""A Flask app that is installed, with files of its own."""

import importlib.metadata
import os
import socket
from pathlib import Path

import tabulate  # of the dependency group
from flask import Flask

app = Flask(__name__)


@app.get("/healthz")
def healthz() -> str:
    """Well."""
    return "ok"


@app.get("/about")
def about() -> dict[str, object]:
    """What the app finds."""
    return {
        "version": importlib.metadata.version("board"),
        "group": tabulate.__name__,
        "sockets": socket.socket.__module__,
        "hook": os.environ.get("HOOK"),
        "release": os.environ["PLAINSTACK_RELEASE"],
    }


@app.post("/note")
def note() -> str:
    """Write into the instance folder."""
    Path(app.instance_path, "note").write_text("noted", encoding="utf-8")
    return app.instance_path
