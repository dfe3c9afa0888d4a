"""An app that can be imported only where it is installed."""

from importlib.metadata import version

from flask import Flask
from greetings import hello

app = Flask(__name__)


@app.get("/")
def index() -> str:
    """Say what runs, and what is installed."""
    return f"{hello()}, shop {version('shop')} and greetings {version('greetings')}"
