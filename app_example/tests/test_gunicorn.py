"""The app as Plainstack runs it: a preloading Gunicorn with two workers on a unix socket."""

import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

CODE = Path(__file__).parent.parent
VISITS = 300  # fewer than a thousand, which the page writes with a comma
CLIENTS = 8

Get = Callable[[str], str]


class UnixConnection(HTTPConnection):
    """HTTP over the unix socket that is given as the host."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


@contextmanager
def gunicorn(environ: dict[str, str], path: Path) -> Iterator[Get]:
    """Run the app, yield a function that gets a page from it, and stop it gracefully."""
    # A worker that is only just forked misses the signal to stop, and is killed when the
    # graceful timeout is over. A short one, so that the tests do not wait for that.
    options = "--preload --workers=2 --threads=4 --graceful-timeout=2 --no-control-socket"
    process = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", *options.split(), f"--bind=unix:{path}", "wsgi:app"],
        cwd=CODE,
        env={**os.environ, **environ},
    )

    def get(page: str) -> str:
        connection = UnixConnection(str(path), timeout=20)
        connection.request("GET", page, headers={"Host": "localhost"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        assert answer.status == 200, text
        return text

    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert process.poll() is None, "Gunicorn did not start"
            assert time.monotonic() < deadline, "Gunicorn did not listen"
            time.sleep(0.05)
        yield get
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0


@pytest.fixture
def get(environ: dict[str, str], tmp_path: Path) -> Iterator[Get]:
    with gunicorn(environ, tmp_path / "app.sock") as get:
        yield get


def test_no_visit_is_lost_between_processes(get: Get) -> None:
    with ThreadPoolExecutor(CLIENTS) as clients:
        text = "".join(clients.map(get, ["/"] * VISITS))
    shown = re.findall(r'class="visits"><b>(\d+)</b>', text)
    assert sorted(map(int, shown)) == list(range(1, VISITS + 1))
    assert len(set(re.findall(r"<dt>pid</dt><dd>(\d+)</dd>", text))) == 2


def test_page_draws_the_unix_socket_and_the_worker(get: Get, tmp_path: Path) -> None:
    page = get("/")
    assert f"<b>unix socket</b> <code>{tmp_path / 'app.sock'}</code>" in page
    assert "<h2>Gunicorn worker</h2>" in page
