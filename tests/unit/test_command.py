"""A command of the operator's: where it runs, and what is shown of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.command import CommandError, choose, text, timeout
from ansible_collections.plainstack.web.plugins.module_utils.environment import render
from ansible_collections.plainstack.web.plugins.module_utils.host import command, hook
from ansible_collections.plainstack.web.plugins.module_utils.host.command import hide, run
from ansible_collections.plainstack.web.plugins.module_utils.host.systemd import InstanceError
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.fakes import OLD, LocalApp, Systemd

LIVE, NONE, OFF = {"apps": {"hello": {"live": OLD}}}, {"apps": {"hello": {"live": ""}}}, {"error": "cannot be reached"}
SEEN: dict[str, dict[str, Any]] = {"web1": OFF, "web2": NONE, "web3": LIVE, "web4": LIVE}


@pytest.mark.parametrize(("on", "servers"), [("", ["web3"]), ("web4", ["web4"])])
def test_where_it_runs(on: str, servers: list[str]) -> None:
    assert choose("hello", on, [*SEEN], SEEN) == servers


def test_on_all() -> None:
    assert choose("hello", "all", ["web3", "web4"], SEEN) == ["web3", "web4"]


@pytest.mark.parametrize(
    ("on", "servers", "said"),
    [
        ("", ["web1", "web2"], "cannot be run on any server; nothing was run.\n  web1: cannot be reached\n  web2: no release is live"),
        ("all", ["web2", "web3"], "cannot be run on all servers; nothing was run.\n  web2: no release is live\nNext"),
        ("web1", [*SEEN], "cannot be run on web1; nothing was run.\n  web1: cannot be reached\nNext"),
        ("\x1b", ["web3"], r"on is '\x1b': hello is on web3. Nothing was run."),
    ],
)
def test_where_it_cannot_run(on: str, servers: list[str], said: str) -> None:
    with pytest.raises(CommandError) as error:
        choose("hello", on, servers, SEEN)
    assert said in str(error.value)


def test_timeouts() -> None:
    assert [timeout(given) for given in ("", "1", "86400")] == [600, 1, 86400]
    for given_ in ("0", "86401", "-1", "1h", "1.5", "\u0661"):
        with pytest.raises(CommandError, match="command_timeout is '"):
            timeout(given_)


def done(code: int = 0, output: str = "said", over: bool = False) -> dict[str, Any]:
    return {"release": OLD, "code": code, "output": output, "over": over}


def test_what_is_said() -> None:
    assert text("hello", {"web1": done()}) == ("said", "")
    assert text("hello", {"web1": done(), "web2": done(output="more")}) == ("web1:\nsaid\nweb2:\nmore", "")
    said, failed = text(
        "hello", {"web1": done(), "web2": done(3, "no\x1b[2J"), "web3": done(1, "", True), "web4": {"error": "hello: no release is live here."}}
    )
    assert said == "web1:\nsaid"
    assert failed.splitlines() == [
        f"hello: the command ended with exit code 3 on web2, in the release {OLD}.",
        r"no\x1b[2J",
        f"hello: the command was ended, as its time was over, on web3, in the release {OLD}.",
        "(it wrote nothing)",
        "web4: hello: no release is live here.",
    ]
    assert text("hello", {"web1": {}}) == ("hello: the command would be run on web1", "")


@given(parts=st.lists(st.text("ab \n", max_size=9)), hidden=st.lists(st.text("ab \n", max_size=7), max_size=4))
def test_no_secret_is_shown(parts: list[str], hidden: list[str]) -> None:
    """But those too short to be one."""
    shown = hide("".join([*parts, *hidden]), hidden).split("****")
    assert [value for value in hidden if len(value.strip()) > command.SHORT and any(value.strip() in part for part in shown)] == []


def test_one_secret_within_another() -> None:
    assert hide("a token of tokens, tok", ["token", "a token of tokens", "tok", ""]) == "****, tok"
    assert hide("line one\nline two", ["line one\r\nline two\n"]) == "****"


@pytest.fixture
def executed(host: Systemd, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """With what a command was executed; it prints its environment."""
    assert host
    found: list[tuple[Any, ...]] = []

    def execute(*arguments: Any) -> tuple[int, str]:
        found.append(arguments)
        return 3, "TOKEN=swordfish GREETING=Hello"

    monkeypatch.setattr(hook, "execute", execute)
    return found


def test_run(app: LocalApp, executed: list[tuple[Any, ...]]) -> None:
    """Two at a time have units, and so files, of their own."""
    Path(app.environment(OLD)).write_text(render({"TOKEN": "swordfish", "GREETING": "Hello"}))
    for _time in range(2):
        assert run(app, "env; : token", 60, ["TOKEN", "GONE"]) == {"release": OLD, "code": 3, "output": "TOKEN=**** GREETING=Hello", "over": False}
    first, second = executed
    assert first[:2] == (app, OLD)
    assert first[3:] == ("a command", "env; : token", 60)
    assert first[2] != second[2]
    assert app.hook(first[2]) != app.hook(second[2])


def test_no_live_release(app: LocalApp, executed: list[tuple[Any, ...]]) -> None:
    Path(app.live_socket).unlink()
    with pytest.raises(InstanceError, match="hello: no release is live here"):
        run(app, "env", 60, [])
    assert executed == []
