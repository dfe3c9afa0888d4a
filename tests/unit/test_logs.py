"""The logs of an app: read on a server, merged on the controller."""

from __future__ import annotations

import io
import itertools
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller import logs as controller
from ansible_collections.plainstack.web.plugins.module_utils.host import history, logs
from ansible_collections.plainstack.web.plugins.module_utils.host.logs import LEVELS, SOURCES, Line, Wanted, WrongTimeError, access, deploys, errors, when
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fakes import NEW, OLD, LocalApp

NOW = 1795780800.0  # 2026-11-27T12:00:00Z
ALL = Wanted(0.0, 0.0, 100, "debug")


def entry(text: object, at: float = NOW, priority: str = "6", pid: str = "7", **more: Any) -> str:
    own = {"_SYSTEMD_UNIT": f"hello@{OLD}.service", "MESSAGE": text, "PRIORITY": priority, "_PID": pid, "__REALTIME_TIMESTAMP": str(int(at * 1e6))}
    return json.dumps({**own, **more})


def lines(*entries: str) -> list[Line]:
    return list(logs.lines_of(filter(None, map(logs.parse_entry, entries))))


@pytest.mark.parametrize(
    ("text", "priority", "level"),
    [
        ("[2026-11-27 12:00:00 +0000] [7] [ERROR] Worker timeout", "6", "error"),
        ("ERROR:root:no", "6", "error"),
        ("CRITICAL hello: no", "6", "error"),
        ("[2026-11-27 12:00:00,123] WARNING in views: hm", "6", "warning"),
        ("INFO:     127.0.0.1 - GET / 200", "3", "info"),
        ("DEBUG", "6", "debug"),
        ("an ERRORS table, and Error of another kind", "6", "info"),
        ("x" * 200 + " ERROR ", "6", "info"),
        ("Failed with result 'exit-code'.", "4", "warning"),
        ("plain", "3", "error"),
        ("Error: no such module", "6", "error"),
        ("sqlalchemy.exc.OperationalError: no", "6", "error"),
        ("plain", "7", "debug"),
    ],
)
def test_how_bad_a_line_is(text: str, priority: str, level: str) -> None:
    assert [line.level for line in lines(entry(text, priority=priority))] == [level]


def test_a_traceback_is_an_error_to_its_end() -> None:
    """Each of its lines; not what another process writes meanwhile."""
    found = lines(
        entry("Traceback (most recent call last):"),
        entry('  File "x.py", line 1'),
        entry("meanwhile", pid="8"),
        entry("RuntimeError: boom"),
        entry("after"),
    )
    assert [line.level for line in found] == ["error", "error", "info", "error", "info"]


def test_all_of_a_request() -> None:
    """Also the traceback that follows its line, and no other."""
    found = lines(
        entry("ERROR hello [4f6f0e1d2c]: boom"),
        entry("Traceback (most recent call last):"),
        entry("RuntimeError: no", pid="8"),
        entry('  File "x.py"'),
        entry("RuntimeError: boom"),
        entry("after"),
    )
    wanted = Wanted(0.0, 0.0, 10, "debug", request="4f6f0e1d2c")
    said = ["ERROR hello [4f6f0e1d2c]: boom", "Traceback (most recent call last):", '  File "x.py"', "RuntimeError: boom"]
    assert [line.text for line in found if wanted.takes(line)] == said


def test_nobody_but_systemd_speaks_of_other_units() -> None:
    """Any process may set UNIT."""
    forged = "x\n2026-11-27T12:00:00.000Z web2 shop@1: stolen"
    assert [line.source for line in lines(entry("a", UNIT=forged), entry("b", pid="1", UNIT="hello.beat.1@1.service"))] == [f"hello@{OLD}", "hello.beat.1@1"]
    assert controller.text({"web1": {"lines": {"hello": [{"at": 0.0, "source": forged, "text": "a"}]}}}, 9).count("\n") == 0


def test_the_journal_is_read_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is too long is left out as a whole, and there is an end."""
    monkeypatch.setattr(logs, "ENTRY", 10)
    monkeypatch.setattr(logs, "JOURNAL", 60)
    assert list(logs.bounded(io.BytesIO(b"one\n" + b"x" * 25 + b"\ntwo\n" + b"three\n" * 99))) == ["one\n", "two\n", *["three\n"] * 5]


def test_what_the_journal_says() -> None:
    """Control characters come as bytes; systemd's own words are about a unit; one with several lines is several."""
    found = lines(
        entry([27, 91, 255]),
        entry("Stopped.", _SYSTEMD_UNIT="init.scope", pid="1", UNIT=f"hello.beat.1@{OLD}.service"),
        entry("one\ntwo"),
        entry(None),
        "{",
        "[]",
        entry("x" * 5000),
    )
    assert [line.text for line in found] == ["\x1b[\ufffd", "Stopped.", "one", "two", "", "x" * 2000]
    assert found[1].source == f"hello.beat.1@{OLD}"


@pytest.mark.parametrize(
    ("text", "at"), [("", 0.0), ("1h", NOW - 3600), ("20min 5s", NOW - 1205), ("@1795780000", 1795780000.0), ("2026-11-27 11:00:00 UTC", NOW - 3600)]
)
def test_when(text: str, at: float) -> None:
    assert when("since", text, NOW) == at


@pytest.mark.parametrize("text", ["fortnight", "--help", "1h; id", "\x1b[2J", "a\0b", "9" * 200, "-"])
def test_no_time(text: str) -> None:
    with pytest.raises(WrongTimeError) as error:
        when("until", text, NOW)
    assert str(error.value).startswith("until is '")
    assert "\x1b" not in str(error.value)


STAMP = "[27/Nov/2026:12:00:00 +0000]"
OURS = f'192.0.2.1 - - {STAMP} "GET / HTTP/1.1" 502 1 "-" "-" other.test 0.1 0.1 unix:/srv/hello/live.sock'
OTHERS = f'192.0.2.1 - - {STAMP} "GET / HTTP/1.1" 404 1 "-" "unix:/srv/hello/live.sock" hello.test 0.1 0.1 unix:/srv/other/live.sock'
STATIC = f'192.0.2.1 - - {STAMP} "GET /static/x HTTP/1.1" 404 1 "-" "-" hello.test 0.1 - -'
NOBODYS = f'192.0.2.1 - - {STAMP} "GET /static/x HTTP/1.1" 200 1 "-" "-" other.test 0.1 - -'


def test_requests_of_an_app(tmp_path: Path) -> None:
    """Those that it has answered, and those for its site that nobody did; what a client sends does not make them another's."""
    (tmp_path / "log").write_text(f"{OURS}\n{OTHERS}\n{STATIC}\n{NOBODYS}\n")
    found = list(access("hello", ["hello.test"], ALL, str(tmp_path / "log")))
    assert [(line.text, line.level, line.at) for line in found] == [(STATIC, "warning", NOW), (OURS, "error", NOW)]
    assert [line.text for line in access("hello", [], ALL, str(tmp_path / "log"))] == [OURS]


def test_errors_of_nginx(tmp_path: Path) -> None:
    begin, rest = "2026/11/27 12:00:00 [error] 7#7: *1 ", ', client: 192.0.2.1, server: hello.test, request: "GET / HTTP/1.1"'
    ours = f'connect() to unix:/srv/hello/live.sock failed{rest}, upstream: "http://unix:/srv/hello/live.sock:/", host: "hello.test"'
    others = f'connect() failed{rest}, upstream: "http://unix:/srv/other/live.sock:/", host: "hello.test"'
    static = f'open() "/srv/x" failed{rest}, host: "hello.test:443"'
    (tmp_path / "log").write_text("".join(f"{begin}{text}\n" for text in (ours, others, static, "no host")) + "noise\n")
    found = list(errors("hello", ["hello.test"], ALL, str(tmp_path / "log")))
    assert [(line.text, line.level) for line in found] == [(f"7#7: *1 {static}", "error"), (f"7#7: *1 {ours}", "error")]


def test_lines_that_a_client_has_made_up_hide_nothing(tmp_path: Path) -> None:
    """A path with a line feed in it is in the log as it is."""
    true = '2026/11/27 12:00:00 [error] 7#7: *1 open() "/srv/x" failed, host: "hello.test"'
    forged = ("2026/99/99 99:99:99 [error] x", "2000/01/01 00:00:00 [error] x")
    (tmp_path / "log").write_text("\n".join([true, *forged]) + "\n")
    assert [line.text for line in errors("hello", ["hello.test"], replace(ALL, since=time.mktime((2026, 1, 1, 0, 0, 0, 0, 0, -1))), str(tmp_path / "log"))] == [
        '7#7: *1 open() "/srv/x" failed, host: "hello.test"'
    ]


def test_the_log_of_deploys(app: LocalApp) -> None:
    history.append(app, "deploy", OLD, by="anna", origin="desk")
    history.append(app, "back", NEW, to=OLD, reason="no health")
    with open(app.history, "a", encoding="utf-8") as stream:
        stream.write('{}\n[1]\n"x"\n')
    assert [(line.text, line.level) for line in deploys(app)] == [(f"back {NEW}, back to {OLD}: no health", "error"), (f"deploy {OLD} by anna on desk", "info")]


@given(
    parts=st.lists(st.lists(st.tuples(st.integers(0, 50), st.sampled_from(LEVELS)), max_size=12), min_size=4, max_size=4),
    count=st.integers(1, 20),
    level=st.sampled_from(LEVELS),
    since=st.integers(0, 40),
    until=st.integers(0, 60),
)
def test_the_last_lines_of_all_sources(parts: list[list[tuple[int, str]]], count: int, level: str, since: int, until: int) -> None:
    """The last so many of what is asked for, whatever source they are from, in time order."""
    made = [[Line(float(at), source, bad, "x") for at, bad in sorted(part)] for source, part in zip(SOURCES, parts, strict=True)]
    wanted = Wanted(float(since), float(until), count, level)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logs, "journal", lambda *_: (iter(made[0]), 0.0))
        for name, part in zip(("access", "errors", "deploys"), made[1:], strict=True):
            patch.setattr(logs, name, lambda *_, part=part: iter(part[::-1]))
        found, _cut = logs.read(LocalApp("hello"), [], wanted)
    fit = [line for line in itertools.chain(*made) if wanted.takes(line)]
    assert [one["at"] for one in found] == sorted(line.at for line in fit)[-count:]
    assert all(LEVELS.index(str(one["level"])) >= LEVELS.index(level) for one in found)


def test_a_source_that_is_not_asked_for_is_not_read(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "journal", lambda *_: pytest.fail("it was read"))
    assert logs.read(app, [], Wanted(0.0, 0.0, 5, "debug", ("deploys",))) == ([], 0.0)


def test_no_more_than_fits(app: LocalApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "SIZE", 10)
    monkeypatch.setattr(logs, "journal", lambda *_: (iter([Line(float(at), "app", "info", "four") for at in range(5)]), 0.0))
    assert [one["at"] for one in logs.read(app, [], Wanted(0.0, 0.0, 50, "debug", ("app",)))[0]] == [3.0, 4.0]


@pytest.mark.parametrize(
    ("scanned", "size", "level", "cut"),
    [(20_000, 2**26, "error", False), (5, 2**26, "error", True), (5, 2**26, "debug", False), (20_000, 400, "debug", True)],
)
def test_a_journal_that_is_not_read_to_its_end(
    app: LocalApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scanned: int, size: int, level: str, cut: bool
) -> None:
    """The output says that older lines were not read; where the operator wants the last lines only, it does not."""
    entries = [
        json.dumps({"__REALTIME_TIMESTAMP": str(at * 10**6), "MESSAGE": "x", "PRIORITY": "6", "_SYSTEMD_UNIT": f"hello@{OLD}.service"}) for at in range(9)
    ]
    said = tmp_path / "said"
    said.write_text("\n".join(reversed(entries)) + "\n")
    (tmp_path / "journalctl").write_text(f'#!/bin/sh\nfor word; do case "$word" in --lines=*) exec head -n "${{word#--lines=}}" {said};; esac; done\n')
    (tmp_path / "journalctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(logs, "SCANNED", scanned)
    monkeypatch.setattr(logs, "JOURNAL", size)
    found, at = logs.read(app, [], Wanted(0.0, 0.0, 5 if level == "debug" and size > 400 else 50, level, ("app",)))
    assert (at > 0) == cut
    said_then = controller.text({"web1": {"lines": {"hello": found}, "cut": {"hello": at} if at else {}}}, 50)
    assert ("web1: the journal of hello is so long that nothing before 1970-01-01T00:00:0" in said_then) == cut


def test_options() -> None:
    assert controller.options({}) == {"since": "1h", "before": "", "lines": 200, "level": "debug", "sources": list(SOURCES), "request": ""}
    assert controller.options({"lines": "10000", "level": "error", "source": "app, deploys,app"})["sources"] == ["app", "deploys"]
    assert (controller.LEVELS, controller.SOURCES) == (LEVELS, SOURCES)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lines", "0"),
        ("lines", "10001"),
        ("lines", "-1"),
        ("lines", "1e3"),
        ("lines", "\u0661"),
        ("level", "ERROR"),
        ("source", "app,"),
        ("source", "\x1b"),
        ("request", "4f6f"),
        ("request", "--since=@0 "),
    ],
)
def test_wrong_options(name: str, value: str) -> None:
    with pytest.raises(controller.WrongOptionError) as error:
        controller.options({name: value})
    assert f"-e {name}=..." in str(error.value)
    assert "\x1b" not in str(error.value)


def line(at: float, text: str, source: str = "hello@1") -> dict[str, Any]:
    return {"at": at, "source": source, "level": "info", "text": text}


def test_all_servers_in_time_order() -> None:
    """What an app writes passes for no other server's line, and no terminal acts on it."""
    seen: dict[str, dict[str, Any]] = {
        "web1": {"lines": {"hello": [line(NOW, "one\n2026-11-27T12:00:00.000Z web2 forged: x"), line(NOW + 2, "three\x1b[2J\r\u2028")]}},
        "web22": {"lines": {"hello": [line(NOW + 1.25, "two", "deploys")]}},
        "web3": {"error": "cannot be reached"},
    }
    assert controller.text(seen, 10).split("\n") == [
        "2026-11-27T12:00:00.000Z web1  hello@1: one",
        "2026-11-27T12:00:00.000Z web1  hello@1: 2026-11-27T12:00:00.000Z web2 forged: x",
        "2026-11-27T12:00:01.250Z web22 deploys: two",
        r"2026-11-27T12:00:02.000Z web1  hello@1: three\x1b[2J",
        "2026-11-27T12:00:02.000Z web1  hello@1: ",
        "web3: cannot be reached",
    ]
    assert controller.text(seen, 1).split("\n")[-1] == "web3: cannot be reached"
    assert controller.text({"web1": {"lines": {}}}, 5) == "There is no such line."


def test_of_several_apps() -> None:
    seen = {"web1": {"lines": {"a": [line(NOW, "x", "deploys")], "b": [line(NOW, "y", "b@1")]}}}
    assert [text.split(maxsplit=2)[2] for text in controller.text(seen, 5).split("\n")] == ["a: deploys: x", "b@1: y"]
