"""The canary, where a server that is added gets its release from, and the table at the end."""

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.rollout import RolloutError, canary, failures, reference, table

HOSTS = ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(("wanted", "count"), [("", 0), ("1", 1), ("4", 4), ("1%", 1), ("20%", 1), ("21%", 2), ("80%", 4)])
def test_canary(wanted: str, count: int) -> None:
    assert canary(HOSTS, wanted) == HOSTS[:count]


@pytest.mark.parametrize("wanted", ["0", "-1", "one", "1.5", "%", "5", "81%", "100%"])
def test_no_canary(wanted: str) -> None:
    with pytest.raises(RolloutError, match=f"canary is '{wanted}'"):
        canary(HOSTS, wanted)


def live(identifier: str, went_live: str = "", archive: str = "/x.tar.gz", verdict: str = "good") -> dict[str, Any]:
    story = {"went_live": went_live, "verdict": verdict} if identifier else {}
    whole = f"2026010{identifier}T000000Z-deadbeef" if identifier.isdigit() else identifier
    return {"plainstack_live": {"apps": {"hello": {"id": whole, "story": story, "archive": archive}}}}


@pytest.mark.parametrize(
    ("lives", "wanted"),
    [
        ([live("1")], "a"),
        ([live(""), live("1")], "b"),
        # Two of three were down when it went live
        ([live("1", "2026-01-01"), live("1", "2026-01-01"), live("2", "2026-01-02")], "c"),
        # A rollback went live last, whatever its id is
        ([live("2", "2026-01-01"), live("1", "2026-01-02")], "b"),
        ([live("1", "2026-01-01"), live("2", "2026-01-02", verdict="bad")], "a"),
        ([live("1", "2026-01-01"), live("2", "2026-01-02", verdict="")], "a"),
        # Built by an older version there, rebuilt here
        ([live("1", archive=""), live("1")], "b"),
    ],
)
def test_reference(lives: list[dict[str, Any]], wanted: str) -> None:
    hosts = HOSTS[: len(lives)]
    assert reference(hosts, dict(zip(hosts, lives, strict=True)), "hello") == wanted


@pytest.mark.parametrize(
    ("lives", "message"),
    [
        ([live("")], "no server has a confirmed release"),
        ([live("1", archive="")], "built by an older version"),
        # What would become part of a path on the controller and on the other servers
        ([live("../../../etc/cron.d/x")], "what is live on a is no release that Plainstack has made. Nothing was touched"),
        ([live("20260101T000000Z-deadbeef\n")], "no release that Plainstack has made"),
    ],
)
def test_no_reference(lives: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RolloutError, match=message):
        reference(["a"], {"a": lives[0]}, "hello")


def host(before: str, after: str, at: float, changed: bool = True) -> dict[str, Any]:
    return {"plainstack_switches": {"hello": {"id": after, "before": before, "changed": changed, "gate": 1.5, "seconds": 0.123, "at": at}}}


def test_table() -> None:
    hosts = {
        "canary": host("old", "new", 90.0),
        "first": host("old", "new", 100.0),
        "last": host("", "new", 100.75),
        "same": host("", "new", 0.0, changed=False),
        "gone": {"plainstack_host": {"left_out": True}},
    }
    for found in hosts.values():
        found["plainstack_canary"] = ["canary"]
    assert table(list(hosts), hosts, ["hello"]).splitlines() == [
        "server  app    before  after  gate   switch  result",
        "canary  hello  old     new    1.5 s  0.1 s   canary",
        "first   hello  old     new    1.5 s  0.1 s   live",
        "last    hello  -       new    1.5 s  0.1 s   live",
        "same    hello  new     new    -      -       unchanged",
        "gone    hello  ?       ?      -      -       left out: cannot be reached",
        "From the first switch to the last: 0.75 s.",
    ]


def test_what_was_not_done() -> None:
    """Each failure once, and what was lost on the way: it has the new release."""
    hosts: dict[str, dict[str, Any]] = {
        "well": host("old", "new", 1.0),
        "lost": host("old", "new", 1.0),
        "failed": {**host("old", "new", 1.0), "plainstack_failures": ["after_live of hello: exit code 1", "the firewall: no nft"]},
        "gone": {"plainstack_host": {"left_out": True}},
        "balancer": {},
    }
    assert failures(list(hosts), hosts, ["well", "failed", "balancer"]) == [
        "lost: all that comes after the switch, because it was lost; new of hello is live there",
        "failed: after_live of hello: exit code 1",
        "failed: the firewall: no nft",
    ]
    assert failures(["well"], hosts, ["well"]) == []
    assert [line.split("  ")[-1].strip() for line in table(["well", "lost"], hosts, ["hello"], ["well"]).splitlines()[1:3]] == ["live", "live, lost since"]


def test_one_server_has_no_skew() -> None:
    assert "From the first" not in table(["a"], {"a": host("old", "new", 5.0)}, ["hello"])


def test_the_table_of_a_dry_run_says_what_would_be() -> None:
    hosts = {"first": host("old", "new", 100.0), "last": host("", "new", 100.75), "same": host("", "new", 0.0, changed=False)}
    assert table(list(hosts), hosts, ["hello"], check=True).splitlines() == [
        "server  app    before  after  gate  switch  result",
        "first   hello  old     new    -     -       would be live",
        "last    hello  -       new    -     -       would be live",
        "same    hello  new     new    -     -       would be unchanged",
    ]
