"""What `status` says: the screen, what counts as a problem, the data."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.status import as_json, contract, judge, text
from ansible_collections.plainstack.web.plugins.module_utils.controller.tables import age, duration, moment, seconds, size

NOW = 1795780800.0  # 2026-11-27T12:00:00Z
DAY = 86400
ID, OTHER = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"


def unit(kind: str, name: str, state: str = "active", substate: str = "running", **more: Any) -> dict[str, Any]:
    end = "timer" if kind == "timer" else "service"
    own = {"unit": f"hello.{name}@{ID}.{end}", "kind": kind, "name": name, "release": ID, "state": state, "substate": substate}
    return {**own, "result": "success", "restarts": 0, "memory": 2**20, "since": None, "next": None, "last": None, **more}


def app(**more: Any) -> dict[str, Any]:
    found = {
        "name": "hello",
        "live": ID,
        "revision": "1a2b3c4d5e6f",
        "dirty": True,
        "went_live": "20261124T120000Z",
        "deployed_by": "anna",
        "deployed_from": "desk",
        "verdict": "good",
        "reason": "",
        "unhealthy": "",
        "units": [unit("instance", "hello"), unit("process", "beat"), unit("timer", "cleanup"), unit("job", "cleanup", "inactive", "dead")],
        "memory": 50 * 2**20,
        "last_failure": None,
        "differs": [],
        "maintenance": {},
        "busy": 3,
        "at_once": 20,
        "requests": {"requests": 1000, "errors": 5, "p50": 0.012, "p99": 1.25},
    }
    return {**found, **more}


def server(**more: Any) -> dict[str, Any]:
    found = {
        "time": NOW,
        "system": "Debian 13",
        "memory": {"total": 2**30, "available": 2**29},
        "disk": {"total": 20 * 2**30, "free": 10 * 2**30},
        "reboot": {"required": False, "packages": []},
        "nginx": "active",
        "certificates": [{"domain": "hello.test", "begins": NOW - 10 * DAY, "ends": NOW + 61.5 * DAY, "covers": True, "error": ""}],
        "apps": [app()],
        "unknown": [],
    }
    return {**found, **more}


def test_the_screen() -> None:
    seen = {"web1": server(), "web22": server(apps=[app(requests=None, units=[], memory=0, revision="")]), "web3": {"error": "cannot be reached: no route"}}
    assert text(seen).splitlines() == [
        "server  app    release                    commit     live for  by    health   beside  busy  memory  requests  5xx   p50    p99",
        f"web1    hello  {ID}  1a2b3c4d+  3 d       anna  healthy  2/2     3/20  50 MiB  1000      0.5%  12 ms  1.2 s",
        f"web22   hello  {ID}  -          3 d       anna  healthy  -       3/20  -       -         -     -      -",
        "",
        "server  system               memory available    disk free             certificate  reboot",
        "web1    Debian 13            512 MiB of 1.0 GiB  10.0 GiB of 20.0 GiB  61 days      no",
        "web22   Debian 13            512 MiB of 1.0 GiB  10.0 GiB of 20.0 GiB  61 days      no",
        "web3    cannot be looked at  -                   -                     -            -",
        "",
        "Problems:",
        "  web3: cannot be reached: no route",
    ]


def test_no_terminal_acts_on_it() -> None:
    found = text({"web1": server(apps=[app(unhealthy="answered \x1b[2J", deployed_by="\x9b1m")])})
    assert [character for character in found if ord(character) < 32 and character != "\n"] == []
    assert r"\x1b[2J" in found
    assert as_json({"web1": server(apps=[app(unhealthy="\x1b\x9b")])}, NOW).isascii()


def test_all_is_well() -> None:
    assert judge({"web1": server()}) == ([], [])
    assert text({"web1": server()}).endswith("\nNo problem was found.")


Change = Callable[[dict[str, Any]], None]


def set_(path: str, value: Any) -> Change:
    def change(seen: Any) -> None:
        *way, last = path.split(".")
        for step in way:
            seen = seen[int(step) if step.isdigit() else step]
        seen[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_("apps.0.unhealthy", "/healthz answered 503"), f"web1: hello: {ID} /healthz answered 503"),
        (set_("apps.0.units.1.state", "failed"), f"web1: hello: the process 'beat' is failed: systemctl status hello.beat@{ID}.service"),
        (set_("apps.0.units.1.substate", "auto-restart"), "web1: hello: the process 'beat' is active"),
        (set_("apps.0.units.2.state", "inactive"), "web1: hello: the timer 'cleanup' is inactive"),
        (set_("apps.0.units.3.result", "exit-code"), "web1: hello: the last run of the timer 'cleanup' failed (exit-code)"),
        (set_("nginx", "failed"), "web1: nginx does not run: its unit is failed"),
        (set_("certificates.0.ends", NOW - 1), "web1: the certificate of hello.test has expired"),
        (set_("certificates.0.covers", False), "web1: nginx has no certificate for hello.test yet"),
        (set_("certificates.0.error", "refused"), "web1: the certificate of hello.test cannot be had from nginx: refused"),
    ],
)
def test_problems(change: Change, said: str) -> None:
    seen = copy.deepcopy(server())
    change(seen)
    problems, notes = judge({"web1": seen})
    assert [problem for problem in problems if problem.startswith(said)] == problems != []
    assert notes == []
    assert not contract({"web1": seen}, NOW)["healthy"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_("apps.0.verdict", ""), f"web1: hello: {ID} is live and not confirmed"),
        (set_("apps.0.units.1.restarts", 3), f"web1: hello: systemd has restarted hello.beat@{ID}.service 3 times"),
        (set_("apps.0.differs", ["workers", "env or secrets"]), "web1: hello: the inventory has another value than the live release for: workers, env or"),
        (set_("certificates.0.begins", NOW - 200 * DAY), "web1: two thirds of the life of the certificate of hello.test have passed"),
        (set_("disk.free", 2**30), "web1: 1.0 GiB of 20.0 GiB of disk are free"),
        (set_("memory.available", 2**26), "web1: 64 MiB of 1.0 GiB of memory are available"),
        (set_("reboot", {"required": True, "packages": ["linux"]}), "web1: the system waits for a reboot for linux"),
        (set_("unknown", ["old"]), "web1: the app 'old' runs here"),
    ],
)
def test_notes(change: Change, said: str) -> None:
    seen = copy.deepcopy(server())
    change(seen)
    problems, notes = judge({"web1": seen})
    assert problems == []
    assert [note for note in notes if note.startswith(said)] == notes != []


def test_what_an_old_release_has_left_running_is_no_problem() -> None:
    assert judge({"web1": server(apps=[app(units=[unit("process", "beat", "failed", release=OTHER)])])}) == ([], [])


def test_different_releases() -> None:
    seen = {"web1": server(), "web2": server(apps=[app(live=OTHER)]), "web3": server(apps=[app(live="", unhealthy="no release is live")]), "web4": server()}
    problems = judge(seen)[0]
    assert problems[0] == "web3: hello: no release is live"
    assert problems[1].startswith(f"hello: the servers have different releases live: {ID} on web1, web4; {OTHER} on web2; nothing on web3.")


def test_the_last_failure_of_all_servers() -> None:
    def failed(time: str) -> dict[str, Any]:
        return app(last_failure={"time": time, "event": "failed", "release": OTHER, "by": "anna", "origin": "desk", "reason": "no health\nmore"})

    seen = {"web1": server(apps=[failed("20261127T100000Z")]), "web2": server(apps=[failed("20261127T110000Z")]), "web3": server(apps=[failed("?")])}
    assert judge(seen) == ([], [f"hello: the last release that failed: {OTHER} on web2, 1 h ago by anna: no health"])


def test_the_data() -> None:
    seen = {"web1": server(), "web2": {"error": "cannot be reached"}}
    found = json.loads(as_json(seen, NOW))
    assert (found["version"], found["time"], found["healthy"], found["problems"]) == (1, "2026-11-27T12:00:00Z", False, ["web2: cannot be reached"])
    assert found["servers"]["web2"] == {"reached": False, "error": "cannot be reached"}
    assert {**found["servers"]["web1"], "certificates": [], "reached": True} == {**server(), "certificates": [], "reached": True, "error": ""}
    assert found["servers"]["web1"]["certificates"][0]["days"] == 61
    assert "\n" not in as_json(seen, NOW)


@pytest.mark.parametrize(("value", "said"), [(0, "0 s"), (59.9, "59 s"), (61, "1 min"), (7200, "2 h"), (86400 * 3.9, "3 d"), (-5, "0 s")])
def test_durations(value: float, said: str) -> None:
    assert duration(value) == said


def test_ages_sizes_and_times() -> None:
    assert (age("20261127T110000Z", NOW), age("", NOW), moment("x")) == ("1 h", "-", None)
    assert (size(2**20 * 1.6), size(2**30 * 1.5), seconds(0.0124), seconds(12.34)) == ("2 MiB", "1.5 GiB", "12 ms", "12.3 s")
