"""What a visitor, nginx and Plainstack's health gate notice of the app."""

import importlib
import logging
import os
import platform
import re
import shutil
import socket
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from threading import Timer

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hello import create_app

NGINX = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "hello.example.com",
}


def count(client: FlaskClient) -> int:
    """Visit the page and return the number that it shows."""
    match = re.search(r'class="visits"><b>([\d,]+)</b>', client.get("/").text)
    assert match
    return int(match[1].replace(",", ""))


# The page


def test_page_draws_the_path_of_the_request(client: FlaskClient) -> None:
    page = client.get("/", headers=NGINX)
    assert page.status_code == 200
    shown = re.findall(r"<(?:h2|dd|b|code)>(.*?)</", page.text)
    for fact in (
        "203.0.113.9",
        "https://hello.example.com",
        "HTTPS",
        "nginx",
        str(os.getpid()),
        str(os.getppid()),
        "20260102T030405-abcdef",
        socket.gethostname(),
        platform.python_version(),
    ):
        assert fact in shown


def test_page_does_not_claim_an_nginx_that_was_not_there(client: FlaskClient) -> None:
    page = client.get("/").text
    assert "<h2>No nginx</h2>" in page
    assert "HTTP, not encrypted" in page


def test_page_is_never_stored(client: FlaskClient) -> None:
    assert client.get("/").headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/", "/nowhere"])
def test_pages_hold_under_a_strict_content_security_policy(client: FlaskClient, path: str) -> None:
    page = client.get(path).text
    assert not re.search(r"<script|<style|\sstyle=|\son\w+=|javascript:", page)
    assert all(link.startswith("/") for link in re.findall(r'(?:href|src)="(.*?)"', page))


def test_greeting_is_the_headline_and_escaped(environ: dict[str, str]) -> None:
    client = create_app({**environ, "GREETING": "Hi <b>you</b>"}).test_client()
    assert "<h1>Hi &lt;b&gt;you&lt;/b&gt;</h1>" in client.get("/").text


def test_static_files(client: FlaskClient) -> None:
    links = re.findall(r'"(/static/.*?)"', client.get("/").text)
    assert {link.partition("?")[0] for link in links} == {"/static/logo.svg", "/static/style.css"}
    for link in links:
        assert link.endswith("?v=20260102T030405-abcdef")
        assert client.get(link).status_code == 200
    assert client.get("/static/logo.svg").mimetype == "image/svg+xml"
    assert client.get("/static/style.css").mimetype == "text/css"
    assert "no-store" not in client.get("/static/style.css").headers["Cache-Control"]


# The counter


def test_each_visit_counts_once(client: FlaskClient) -> None:
    assert [count(client) for _ in range(3)] == [1, 2, 3]


def test_only_visits_count(client: FlaskClient) -> None:
    assert count(client) == 1
    client.head("/")
    for path in ("/healthz", "/api/whoami", "/slow?seconds=0", "/nowhere"):
        client.get(path)
    assert count(client) == 2


def test_counter_survives_a_new_release(environ: dict[str, str]) -> None:
    assert count(create_app(environ).test_client()) == 1
    assert count(create_app({**environ, "PLAINSTACK_RELEASE": "next"}).test_client()) == 2


def test_first_visit_waits_for_another_process(client: FlaskClient, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "hello.sqlite3", check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    Timer(0.3, other.close).start()
    assert count(client) == 1


# Behind nginx


def test_one_proxy_is_believed(client: FlaskClient) -> None:
    me = client.get("/api/whoami", headers=NGINX).get_json()
    assert (me["client"], me["scheme"], me["host"]) == ("203.0.113.9", "https", "hello.example.com")


def test_only_the_last_hop_of_a_forged_chain_is_believed(client: FlaskClient) -> None:
    forged = {
        "X-Forwarded-For": "6.6.6.6, 7.7.7.7, 203.0.113.9",
        "X-Forwarded-Proto": "https, http",
        "X-Forwarded-Host": "evil.example, hello.example.com",
        "X-Forwarded-Prefix": "/evil",
        "Forwarded": "for=6.6.6.6",
    }
    me = client.get("/api/whoami", headers=forged).get_json()
    assert (me["client"], me["scheme"], me["host"]) == ("203.0.113.9", "http", "hello.example.com")
    assert "/evil" not in client.get("/", headers=forged).text


# The health check


def test_healthy(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "ok", "text/plain")


def test_healthy_while_a_visit_is_written(client: FlaskClient, tmp_path: Path) -> None:
    assert count(client) == 1
    with closing(sqlite3.connect(tmp_path / "hello.sqlite3")) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert client.get("/healthz").status_code == 200


def test_unhealthy_while_the_database_cannot_be_opened(client: FlaskClient, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (503, "database: unable to open database file\n")
    tmp_path.mkdir()
    assert client.get("/healthz").status_code == 200


def test_unhealthy_when_the_file_is_no_database(client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "hello.sqlite3").write_text("This is something else. " * 100)
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (503, "database: file is not a database\n")


# The other routes


def test_whoami(environ: dict[str, str]) -> None:
    client = create_app({**environ, "GREETING": "hi"}).test_client()
    assert client.get("/api/whoami").get_json() == {
        "client": "127.0.0.1",
        "scheme": "http",
        "host": "localhost",
        "method": "GET",
        "pid": os.getpid(),
        "ppid": os.getppid(),
        "release": "20260102T030405-abcdef",
        "hostname": socket.gethostname(),
        "python": platform.python_version(),
        "greeting": "hi",
        "body_length": 0,
    }


def test_whoami_measures_the_body(client: FlaskClient) -> None:
    me = client.post("/api/whoami", data=b"x" * 200_000).get_json()
    assert (me["method"], me["body_length"]) == ("POST", 200_000)


def test_environment_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Flask, "auto_find_instance_path", lambda self: str(tmp_path / "instance"))
    client = create_app({}).test_client()
    me = client.get("/api/whoami").get_json()
    assert (me["release"], me["greeting"]) == ("dev", None)
    assert count(client) == 1
    assert (tmp_path / "instance" / "hello.sqlite3").exists()


def test_slow_sleeps(client: FlaskClient) -> None:
    started = time.monotonic()
    answer = client.get("/slow?seconds=0.2")
    assert time.monotonic() - started >= 0.2
    assert answer.get_json()["slept"] == 0.2


@pytest.mark.parametrize(("seconds", "slept"), [("?seconds=0", 0), ("?seconds=60", 60), ("", 0.5)])
def test_slow_bounds(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, seconds: str, slept: float) -> None:
    naps: list[float] = []
    monkeypatch.setattr("hello.views.time.sleep", naps.append)
    assert client.get(f"/slow{seconds}").status_code == 200
    assert naps == [slept]


@pytest.mark.parametrize("seconds", ["-0.1", "60.1", "nan", "inf", "-inf", "soon", ""])
def test_slow_refuses(client: FlaskClient, monkeypatch: pytest.MonkeyPatch, seconds: str) -> None:
    monkeypatch.setattr("hello.views.time.sleep", lambda _: pytest.fail("slept"))
    answer = client.get(f"/slow?seconds={seconds}")
    assert answer.status_code == 400
    assert "seconds must be a number from 0 to 60." in answer.text


def test_error_pages(app: Flask) -> None:
    @app.get("/broken")
    def broken() -> str:
        raise RuntimeError("a secret")

    client = app.test_client()
    for path, code in (("/nowhere", 404), ("/broken", 500)):
        answer = client.get(path)
        assert answer.status_code == code
        assert f'<p class="code">{code}</p>' in answer.text
        assert "style.css" in answer.text
        assert "secret" not in answer.text
    refused = client.post("/healthz")
    assert refused.status_code == 405
    assert "GET" in refused.headers["Allow"]


def test_lines_of_the_log_have_the_id_of_their_request(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """And what belongs to no request has none."""
    monkeypatch.setenv("PLAINSTACK_SHARED", str(tmp_path))
    wsgi = importlib.import_module("wsgi")
    record = logging.makeLogRecord({"msg": "a line"})
    with wsgi.app.test_request_context(headers={"X-Request-ID": "4f6f0e1d"}):
        assert wsgi.handler.filter(record)
    assert record.__dict__["request_id"] == "4f6f0e1d"
    assert wsgi.handler.filter(record)
    assert record.__dict__["request_id"] == "-"
