"""The routes."""

import os
import platform
import socket
import sqlite3
import time
from importlib.metadata import version
from typing import Any

from flask import Blueprint, Response, abort, current_app, render_template, request
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from hello import visits

LONGEST_SLEEP = 60  # seconds
CHUNK = 64 * 1024  # bytes

pages = Blueprint("pages", __name__)


@pages.get("/")
def index() -> str:
    """The path of this request, drawn."""
    if request.method == "GET":  # a HEAD is no visit
        count = visits.add(current_app.config["DATABASE"], "/")
    else:
        count = visits.total(current_app.config["DATABASE"])
    return render_template(
        "index.html",
        me=whoami(),
        visits=count,
        proxied="X-Forwarded-For" in request.headers,
        unix_socket=unix_socket(),
        server=request.environ.get("SERVER_SOFTWARE", "unknown"),
        flask=version("flask"),
    )


@pages.get("/healthz")
def healthz() -> tuple[str, int, dict[str, str]]:
    """Whether this process can do its work. Plainstack gives a release traffic when it is 200."""
    text = {"Content-Type": "text/plain; charset=utf-8"}
    try:
        visits.total(current_app.config["DATABASE"])
    except sqlite3.Error as error:
        current_app.logger.error("health: database: %s", error)
        return f"database: {error}\n", 503, text
    return "ok", 200, text


@pages.route("/api/whoami", methods=["GET", "POST"])
def api_whoami() -> dict[str, Any]:
    """The same as the page draws, as JSON, with the length of the body in bytes."""
    chunks = iter(lambda: request.stream.read(CHUNK), b"")
    return {**whoami(), "body_length": sum(len(chunk) for chunk in chunks)}


@pages.get("/slow")
def slow() -> dict[str, Any]:
    """Answer late: a request that is in flight while a release is switched and drained."""
    try:
        seconds = float(request.args.get("seconds", "0.5"))
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= LONGEST_SLEEP:  # also refuses nan
        abort(400, f"seconds must be a number from 0 to {LONGEST_SLEEP}.")
    time.sleep(seconds)
    return {"slept": seconds, "pid": os.getpid(), "release": current_app.config["RELEASE"]}


@pages.app_errorhandler(HTTPException)
def error_page(error: HTTPException) -> HTTPException | WerkzeugResponse:
    """Every error as a page: 404, 400, and 500 for an exception, which Flask has logged."""
    if error.code is None or error.code < 400:  # a redirect is an HTTPException too
        return error
    response = error.get_response()  # with its own headers, such as Allow
    response.set_data(render_template("error.html", error=error))
    return response


@pages.after_app_request
def forbid_storing(response: Response) -> Response:
    """Every answer is about one request. Static files say themselves how long they keep."""
    if request.endpoint != "static":
        response.headers["Cache-Control"] = "no-store"
    return response


def whoami() -> dict[str, Any]:
    """Who asks, as nginx says it, and who answers."""
    return {
        "client": request.remote_addr or None,
        "scheme": request.scheme,
        "host": request.host,
        "method": request.method,
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "release": current_app.config["RELEASE"],
        "hostname": socket.gethostname(),
        "python": platform.python_version(),
        "greeting": current_app.config["GREETING"],
    }


def unix_socket() -> str | None:
    """Return the path of the unix socket that brought this request, None if it came over TCP."""
    connection = request.environ.get("gunicorn.socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    return str(connection.getsockname())
