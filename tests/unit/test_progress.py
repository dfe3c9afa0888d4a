"""What a rollout shows while it goes on, from simulated events."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller import progress
from ansible_collections.plainstack.web.plugins.module_utils.controller.progress import CHANGED, FAILED, LOST, NOTHING, OK, Progress
from hypothesis import given
from hypothesis import strategies as st

OURS = "/x/playbooks"
STATS = {"ok": 5, "failures": 0, "unreachable": 0, "changed": 0, "skipped": 2, "rescued": 0, "ignored": 0}


def phase(of: Progress, name: str, outcomes: dict[str, str], begin: float, end: float, width: int = 100, **more: Any) -> list[str]:
    """A phase of one task, from its begin to its end."""
    assert of.task(name, begin, width) == []
    for host in outcomes:
        of.started(host)
    for host, outcome in outcomes.items():
        of.done(host, outcome, **more)
    return of.finish(end, width)


@pytest.mark.parametrize(
    ("path", "variables", "kind"),
    [
        ("/x/playbooks/begin.yml", {"plainstack_event": "deploy"}, progress.ROLLOUT),
        ("/x/playbooks/rollout.yml", {}, progress.ROLLOUT),
        ("/x/playbooks/upgrade.yml", {}, progress.ROLLOUT),
        ("/x/playbooks/begin.yml", {"plainstack_event": "status"}, progress.PLAIN),
        ("/x/playbooks/status.yml", {}, progress.PLAIN),
        ("/home/me/deploy.yml", {}, progress.FOREIGN),
        ("/x/playbooks/own/deploy.yml", {}, progress.FOREIGN),
    ],
)
def test_whose_a_play_is(path: str, variables: dict[str, str], kind: str) -> None:
    assert progress.kind(path, OURS, variables) == kind


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (("Plan", "", "plan", ""), "plan"),
        (("Inspect", "", "inspect", ""), "inspect"),
        (("Inspect", "", "decide", ""), "before"),
        (("Roll out", "", "packages", ""), "prepare"),
        (("Roll out", "python", "ansible.builtin.command", ""), "prepare"),
        (("Roll out", "release", "step", "stage"), "stage"),
        (("Roll out", "gunicorn", "step", "agree"), "confirm"),
        (("Roll out", "gunicorn", "step", "after_live"), "hooks"),
        (("Roll out", "nginx", "packages", ""), "nginx"),
        (("Roll out", "", "traffic", ""), "canary"),
        (("Roll out", "certbot", "certificate", ""), "certificates"),
        (("Set up the load balancers", "nginx", "configuration", ""), "balancers"),
        (("Upgrade the app servers", "", "packages", ""), "upgrade"),
        (("Fetch what is live", "", "fetch", ""), "fetch"),
        (("Roll out", "", "summary", ""), ""),
        (("Say how it went", "", "summary", ""), ""),
    ],
)
def test_the_phase_of_a_task(task: tuple[str, str, str, str], expected: str) -> None:
    assert progress.phase(*task, "before") == expected


def test_a_release_on_one_server() -> None:
    """Steps that are done along with another one are named with it."""
    of, lines = Progress(), []
    lines += phase(of, "plan", {"localhost": OK}, 0, 0.4)
    lines += phase(of, "inspect", {"web1": OK}, 1, 2.1)
    lines += phase(of, "stage", {"web1": CHANGED}, 3, 6.2)
    lines += phase(of, "nginx", {"web1": NOTHING}, 7, 7.5)
    lines += phase(of, "switch", {"web1": CHANGED}, 8, 11.5, along=["confirm", "agree", "retire", "after_live"])
    assert lines == [
        "plan                       0.4 s",
        "inspect                    1.1 s  web1",
        "stage                      3.2 s  web1",
        "switch, confirm, retire, hooks   3.5 s  web1",
    ]


def test_the_next_phase_ends_the_one_before() -> None:
    of = Progress()
    assert of.task("plan", 0, 100) == []
    assert of.task("plan", 1, 100) == [], "a task of the same phase"
    assert of.task("inspect", 1.5, 100) == ["plan                       1.5 s"]
    assert of.task("", 2, 100) == ["inspect                    0.5 s"]
    assert (of.name, of.finish(3, 100), of.current(3, 100)) == ("", [], "")


def test_what_takes_long_is_shown_also_where_it_did_nothing() -> None:
    assert phase(Progress(), "stage", {"web1": NOTHING}, 0, 1.9) == []
    assert phase(Progress(), "stage", {"web1": NOTHING}, 0, 2.0) == ["stage                      2.0 s  nothing to do"]


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({"web1": CHANGED, "web2": FAILED, "web3": OK}, "failed on web2"),
        ({"web1": OK, "web2": LOST}, "lost web2"),
        ({"web1": FAILED, "web2": LOST}, "failed on web1; lost web2"),
        ({"localhost": FAILED}, "failed"),
        ({"web1": NOTHING, "web2": CHANGED}, "web2"),
    ],
)
def test_what_came_of_it(outcomes: dict[str, str], said: str) -> None:
    assert phase(Progress(), "start", outcomes, 0, 0.5) == [f"start                      0.5 s  {said}"]


def test_servers_are_in_the_order_of_the_inventory_and_the_worst_counts() -> None:
    of = Progress()
    of.task("confirm", 0, 100)
    for host in ("web1", "web2"):
        of.started(host)
    for host, outcome in (("web2", FAILED), ("web1", FAILED), ("web2", OK)):
        of.done(host, outcome)
    assert of.finish(0.5, 100) == ["confirm                    0.5 s  failed on web1, web2"]


def test_a_dry_run_says_what_would_change() -> None:
    assert phase(Progress(check=True), "nginx", {"web1": CHANGED, "web2": CHANGED}, 0, 0.5, task="Configure nginx") == [
        "nginx                      0.5 s  web1, web2",
        "  would change: Configure nginx (web1, web2)",
    ]


def test_the_current_line() -> None:
    """Who is waited for; and while ssh may ask, no seconds: the line stays as it is."""
    of = Progress()
    of.task("stage", 10, 80)
    for host in ("web1", "web2", "web3"):
        of.started(host)
    assert of.current(13.2, 80) == "stage                        3 s  web1, web2, web3"
    of.done("web1", CHANGED)
    assert of.current(14.2, 80) == "stage                        4 s  1 of 3 servers, waiting for web2, web3"
    assert of.current(14.2, 60) == "stage                        4 s  1 of 3 servers, waiting for web2, web3"[:59]
    assert of.current(14.2, 40) == "stage     4 s  1 of 3 servers, waiting "[:39].rstrip()
    of.task("inspect", 15, 80)
    of.started("web1")
    assert (of.steady, of.current(99, 80)) == (True, "inspect                 web1")


def test_many_servers_are_counted() -> None:
    outcomes = {f"server-{number}": OK for number in range(16)}
    assert phase(Progress(), "stage", outcomes, 0, 0.5, width=80) == ["stage                      0.5 s  16 servers"]


@given(width=st.integers(1, 200), hosts=st.lists(st.text("abc.-", min_size=1, max_size=60), unique=True), done=st.integers(0, 9), now=st.floats(0, 1e5))
def test_the_current_line_fits_and_is_ascii(width: int, hosts: list[str], done: int, now: float) -> None:
    of = Progress()
    of.task("switch", 0, width)
    for host in hosts:
        of.started(host)
    for host in hosts[:done]:
        of.done(host, CHANGED, along=["confirm", "retire"])
    line = of.current(now, width)
    assert (len(line) <= max(width - 1, 1), line.isascii(), "\n" in line) == (True, True, False)


@given(events=st.lists(st.tuples(st.sampled_from(["task", "start", "done"]), st.sampled_from(["plan", "inspect", "stage", ""]), st.sampled_from("abc"))))
def test_any_order_of_events_is_shown(events: list[tuple[str, str, str]]) -> None:
    """Handlers, included tasks and servers that come and go: nothing of it ends a run."""
    of = Progress()
    for now, (event, name, host) in enumerate(events):
        if event == "task":
            of.task(name, now, 80)
        elif event == "start":
            of.started(host)
        else:
            of.done(host, CHANGED if name else FAILED)
        of.current(now, 80)
    of.finish(len(events), 80)
    assert of.name == ""


@pytest.mark.parametrize(
    ("result", "said"),
    [
        ({"msg": "hello: no.\nNext: yes", "stderr": "noise"}, "hello: no.\nNext: yes"),
        ({"msg": "non-zero return code", "stderr": "a\nb", "stdout": "c"}, "Do it: non-zero return code\na\nb\nc"),
        ({"msg": "x", "stdout": "\n".join(map(str, range(50)))}, "\n".join(["Do it: x", *map(str, range(30, 50))])),
        ({"msg": "it says y", "stderr": "y"}, "Do it: it says y"),
        ({"censored": "hidden due to no_log"}, "Do it: hidden due to no_log"),
        ({}, "Do it: it failed"),
    ],
)
def test_the_cause_alone(result: dict[str, str], said: str) -> None:
    assert progress.cause(result, "Do it") == said


@pytest.mark.parametrize(
    ("changed", "failed", "check", "said"),
    [
        (0, 0, False, "Nothing changed"),
        (0, 0, True, "Nothing would change"),
        (1, 0, False, "1 task changed something"),
        (3, 0, False, "3 tasks changed something"),
        (3, 0, True, "3 tasks would change something"),
        (3, 1, False, "Failed"),
    ],
)
def test_the_end(changed: int, failed: int, check: bool, said: str) -> None:
    stats = progress.totals([{**STATS, "changed": changed}, {**STATS, "failures": failed}])
    figures = f"ok=10 changed={changed} unreachable=0 failed={failed} skipped=4 rescued=0 ignored=0"
    assert progress.end(9.84, stats, check, "~/x.log") == [f"{said}, in 9.8 s: {figures}", "Ansible's output: ~/x.log"]
    assert progress.end(9.84, stats, check, "") == [f"{said}, in 9.8 s: {figures}"]
