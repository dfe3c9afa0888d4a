"""What `releases` says; where a rollback leads is decided by what rollback.yml decides with."""

from __future__ import annotations

from typing import Any

from ansible_collections.plainstack.web.plugins.module_utils.controller import decide
from ansible_collections.plainstack.web.plugins.module_utils.controller.releases import text
from hypothesis import given
from hypothesis import strategies as st

A, B, C, D = (f"2026010{day}T000000Z-{letter * 8}" for day, letter in enumerate("abcd", 1))


def one(identifier: str, sequence: int = 1, bad: str = "", **more: Any) -> dict[str, Any]:
    own = {"id": identifier, "sequence": sequence, "bad": bad, "pending": "", "agreed": True, "migrated": False, "after_live": 0, "config": {}}
    told = {"went_live": f"20260101T00000{sequence}Z" if sequence else "", "revision": "", "dirty": False, "deployed_by": "anna", "deployed_from": "desk"}
    return {**own, **told, "verdict": "bad" if bad else "good", "reason": bad, **more}


def has(live: str, *releases: dict[str, Any]) -> dict[str, Any]:
    rest = {"matches": [], "archive": False, "linked": True, "enabled": True, "unhealthy": ""}
    return {"apps": {"hello": {"live": live, "running": [live], "releases": list(releases), **rest}}}


def test_releases() -> None:
    rolled = one(C, 3, "rolled back to D at some time\nand more")
    unconfirmed = one(B, 2, "it was live and never confirmed: its run was interrupted", verdict="")
    seen = {"web1": has(D, one(A, 1, revision="0123456789", dirty=True), unconfirmed, rolled, one(D, 4), one("20260105T000000Z-eeeeeeee", 0, verdict=""))}
    assert text(["hello"], seen).splitlines() == [
        "hello:",
        "  release                    commit     went live         by    verdict      on",
        "  20260104T000000Z-dddddddd  -          20260101T000004Z  anna  live         all",
        "  20260103T000000Z-cccccccc  -          20260101T000003Z  anna  bad          all",
        "  20260102T000000Z-bbbbbbbb  -          20260101T000002Z  anna  unconfirmed  all",
        "  20260101T000000Z-aaaaaaaa  01234567+  20260101T000001Z  anna  good         all  <- rollback.yml",
        "  20260105T000000Z-eeeeeeee  -          -                 anna  never live   all",
        "  Why some are not good:",
        "    20260103T000000Z-cccccccc: rolled back to D at some time",
        "    20260102T000000Z-bbbbbbbb: it was live and never confirmed: its run was interrupted",
    ]


def test_what_one_server_knows_to_be_bad() -> None:
    """A rollback leaves it out on all, and each server says what it thinks."""
    seen = {
        "web1": has(C, one(A, 1), one(B, 2), one(C, 3)),
        "web2": has(C, one(A, 1), one(B, 2, "it broke"), one(C, 3)),
        "web3": {"error": "cannot be reached"},
    }
    found = text(["hello"], seen)
    assert f"  {A}  -       20260101T000001Z  anna  good     all  <- rollback.yml" in found
    assert f"  {B}  -       20260101T000002Z  anna  good     web1" in found
    assert f"  {B}  -       20260101T000002Z  anna  bad      web2" in found
    assert found.endswith("\nweb3: cannot be reached")


def test_nowhere_to_go() -> None:
    assert text(["hello"], {"web1": has(A, one(A))}).splitlines()[-1] == "  rollback.yml goes nowhere: there is no release to go back to."
    assert "  it has no release yet" in text(["hello"], {"web1": has("")})
    differing = {"web1": has(B, one(A, 1), one(B, 2)), "web2": has(A, one(B, 1), one(A, 2))}
    assert text(["hello"], differing).splitlines()[-1] == "  rollback.yml goes nowhere: the servers would go back to different releases."
    assert text(["hello"], {"web1": {"error": "cannot be reached"}}) == "web1: cannot be reached"


def test_an_interrupted_rollback_and_an_unconfirmed_one() -> None:
    assert "live, unconfirmed" in text(["hello"], {"web1": has(B, one(A, 1), one(B, 2, verdict=""))})
    assert "live, unconfirmed" in text(["hello"], {"web1": has(A, one(A, 3, pending="rollback"), one(B, 2, "rolled back"))})


def test_no_terminal_acts_on_it() -> None:
    found = text(["hello"], {"web1": has(B, one(A, 1, "\x1b[2J"), one(B, 2, deployed_by="\x9b"))})
    assert [character for character in found if ord(character) < 32 and character != "\n"] == []


RELEASES = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["", "bad"])), min_size=4, max_size=4)


@given(servers=st.lists(st.tuples(RELEASES, st.integers(0, 3)), min_size=1, max_size=3))
def test_the_mark_is_where_a_rollback_leads(servers: list[tuple[list[tuple[int, str]], int]]) -> None:
    seen = {}
    for number, (releases, live) in enumerate(servers):
        found = [one(identifier, sequence, bad if sequence else "") for identifier, (sequence, bad) in zip((A, B, C, D), releases, strict=True)]
        seen[f"web{number}"] = has((A, B, C, D)[live], *found)
    try:
        target = decide.rollback("hello", "", {server: decide.parse(found["apps"]["hello"]) for server, found in seen.items()}).id
    except decide.DecisionError:
        target = ""
    marked = {line.split()[0] for line in text(["hello"], seen).splitlines() if line.endswith("<- rollback.yml")}
    assert marked <= {target} - {""}
    assert bool(marked) or not target or all(found["apps"]["hello"]["live"] == target for found in seen.values())
