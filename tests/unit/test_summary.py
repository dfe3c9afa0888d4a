"""What a run says at its end."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.decide import DecisionError, Order
from ansible_collections.plainstack.web.plugins.module_utils.controller.summary import (
    about,
    back,
    canary,
    expiry,
    failures,
    released,
    rolled_back,
    table,
    undone,
)

ALL = ("canary", "first", "last", "same", "gone")
BEFORE = {"canary": "old", "first": "old", "last": "", "same": "new", "lost": "old"}
ORDER = Order("hello", "new", frozenset(), frozenset({"canary", "first", "last", "lost"}), BEFORE)


@pytest.mark.parametrize(("wanted", "found"), [("", []), ("1", ["a"]), ("2", ["a", "b"]), ("25%", ["a"]), ("30%", ["a", "b"])])
def test_canary(wanted: str, found: list[str]) -> None:
    assert canary(["a", "b", "c", "d"], wanted) == found


@pytest.mark.parametrize("wanted", ["0", "-1", "x", "1.5", "%", "4", "100%"])
def test_no_such_canary(wanted: str) -> None:
    with pytest.raises(DecisionError, match=f"canary is '{wanted}'"):
        canary(["a", "b", "c", "d"], wanted)


def host(at: float, changed: bool = True) -> dict[str, Any]:
    return {"did": {"start": {"hello": {"seconds": 1.5}}, "switch": {"hello": {"id": "new", "changed": changed, "seconds": 0.123, "at": at}}}}


KNOWN = {"canary": host(90.0), "first": host(100.0), "last": host(100.75), "same": {"did": {}}, "gone": {"left_out": True}}


def test_table() -> None:
    assert table(ALL, KNOWN, [ORDER], ["canary"], ALL).splitlines() == [
        "server  app    before  after  gate   switch  result",
        "canary  hello  old     new    1.5 s  0.1 s   canary",
        "first   hello  old     new    1.5 s  0.1 s   live",
        "last    hello  -       new    1.5 s  0.1 s   live",
        "same    hello  new     new    -      -       unchanged",
        "gone    hello  ?       ?      -      -       left out: cannot be reached",
        "From the first switch to the last: 0.75 s.",
    ]


def test_one_server_has_no_skew() -> None:
    assert "From the first" not in table(["first"], KNOWN, [ORDER], [], ALL)


def test_the_table_of_a_dry_run_says_what_would_be() -> None:
    assert table(["first", "last", "same"], KNOWN, [ORDER], [], ALL, check=True).splitlines()[:4] == [
        "server  app    before  after  gate  switch  result",
        "first   hello  old     new    -     -       would be live",
        "last    hello  -       new    -     -       would be live",
        "same    hello  new     new    -     -       would be unchanged",
    ]


def test_what_was_not_done() -> None:
    """Each failure once, and what was lost on the way: it has the new release."""
    hosts: dict[str, dict[str, Any]] = {
        "first": host(1.0),
        "lost": host(1.0),
        "failed": {**host(1.0), "left": ["after_live of hello: exit code 1", "the firewall: no nft"]},
        "gone": {"left_out": True},
        "balancer": {},
    }
    assert failures(list(hosts), hosts, ["hello"], ["first", "failed", "balancer"]) == [
        "lost: all that comes after the switch, because it was lost; new of hello is live there",
        "failed: after_live of hello: exit code 1",
        "failed: the firewall: no nft",
    ]
    assert failures(["first"], hosts, ["hello"], ["first"]) == []
    assert [line.split("  ")[-1].strip() for line in table(["first", "lost"], hosts, [ORDER], [], ["first"]).splitlines()[1:3]] == ["live", "live, lost since"]


def test_what_was_undone() -> None:
    """The cause first, and of each server what serves; of one it says no name."""
    known = {
        "first": {"did": {"undo": {"hello": {"serving": "old still serves."}}}},
        "lost": {},
        "last": {"did": {"undo": {"hello": {"failed": "hello: new stays live: old does not run any more.\nNext: deploy"}}}},
    }
    assert undone(["first", "lost", "last"], known, [ORDER], "last: no space left").splitlines() == [
        "last: no space left",
        "The rollout is undone. What serves now:",
        "  first: hello: old still serves.",
        "  lost: hello: it was not reached; old was live before.",
        "  last: hello: hello: new stays live: old does not run any more.",
    ]
    assert undone(["first"], known, [ORDER], "x").splitlines()[-1] == "  hello: old still serves."
    assert undone(["first"], known, [ORDER], "x\nold still serves.\nNext: y").splitlines()[-2:] == ["Next: y", "The rollout is undone."]


def test_where_a_rollback_went() -> None:
    order = {"name": "hello", "id": "old", "revision": "0123456789abcdef", "before": {"a": "new", "b": "new"}}
    assert rolled_back(order, check=False) == "hello: old is live (revision 0123456789ab), instead of new"
    assert rolled_back({**order, "before": {"a": "old"}, "revision": ""}, check=True) == "hello: old would be live (no revision); it was before"


APP = {"domains": ["hello.example.com", "www.example.com"], "path": "/"}


@pytest.mark.parametrize(
    ("story", "said"),
    [
        ({"revision": "0123456789abcdef", "dirty": False}, ", revision 0123456789ab"),
        ({"revision": "0123456789abcdef", "dirty": True}, ", revision 0123456789ab with changes that are not committed"),
        ({"revision": "", "dirty": False}, ", not from git"),
        ({}, ""),
    ],
)
def test_where_an_app_is_served_and_what_of(story: dict[str, Any], said: str) -> None:
    assert about(ORDER, APP, {"story": story} if story else {}) == f"hello: https://hello.example.com/{said}"


def test_what_was_not_released_says_nothing_of_its_source() -> None:
    unchanged = Order("hello", "new", frozenset(), frozenset(), {})
    assert about(unchanged, {**APP, "path": "/api"}, {"story": {"revision": "0123", "dirty": True}}) == "hello: https://hello.example.com/api"


def test_when_the_first_certificate_expires() -> None:
    known: dict[str, dict[str, Any]] = {
        "web1": {"certificates": {"hello": "2027-02-20 10:41 UTC", "other": "2026-01-01 00:00 UTC"}},
        "web2": {"certificates": {}},
        "web3": {},
    }
    assert (expiry(known, "hello"), expiry(known, "third")) == ("2027-02-20 10:41 UTC", "")
    assert about(ORDER, APP, {}, "2027-02-20 10:41 UTC") == "hello: https://hello.example.com/, certificate until 2027-02-20 10:41 UTC"


@pytest.mark.parametrize(
    ("command", "inventories", "several", "expected"),
    [
        ("deploy.yml", ["inventories/production"], False, "ansible-playbook rollback.yml -i inventories/production"),
        ("../x/deploy.yml", ["a b"], True, "ansible-playbook ../x/rollback.yml -i 'a b' -e app=hello"),
        ("plainstack.web.deploy", [], False, "ansible-playbook plainstack.web.rollback"),
        ("site.yml", ["a", "b"], False, "ansible-playbook plainstack.web.rollback -i a -i b"),
    ],
)
def test_the_command_that_goes_back(command: str, inventories: list[str], several: bool, expected: str) -> None:
    assert back(command, inventories, ["hello"], several) == [expected]


def test_only_what_has_changed_can_be_taken_back() -> None:
    assert released({"first": host(1.0)}, [ORDER]) == ["hello"]
    assert released({"first": host(1.0, changed=False)}, [ORDER]) == []
    assert released({"last": host(1.0)}, [ORDER]) == [], "nothing was live before"
