"""A page that needs a compiled package."""

import sys

from flask import Flask
from markupsafe import escape

app = Flask(__name__)


@app.get("/")
def index() -> str:
    return str(escape(f"Hello from Python {sys.version_info[0]}.{sys.version_info[1]} & its wheels"))
