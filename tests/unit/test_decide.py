"""What becomes of an app, decided once for the fleet."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.decide import (
    DecisionError,
    Seen,
    deploy,
    parse,
    restart,
    retried,
    rollback,
    scale,
    start,
    stopping,
    upgrade,
)

OLDER, OLD, NEW, TWIN = (f"2026010{day}T000000Z-{day}aaaaaaa" for day in (1, 2, 3, 4))
FRESH = "20260201T000000Z-ffffffff"


def seen(live: str = "", *releases: str | dict[str, Any], matches: tuple[str, ...] = (), archive: bool = True, **changes: Any) -> Seen:
    """A server with releases, the last one live; each is good unless it says otherwise."""
    whole = []
    for sequence, one in enumerate(releases, 1):
        given = {"id": one} if isinstance(one, str) else one
        whole.append(
            {"sequence": sequence, "bad": "", "pending": "", "verdict": "good", "migrated": False, "config": {}, "went_live": f"2026-01-0{sequence}", **given}
        )
    running = [live] if live else []
    found = {"live": live, "running": running, "releases": whole, "matches": list(matches), "archive": archive}
    return parse({**found, "linked": True, "enabled": True, "unhealthy": "", **changes})


WELL = seen(NEW, OLD, NEW, matches=(NEW,))


def test_a_new_release() -> None:
    """Everywhere under one id, migrated by the first."""
    order = deploy("hello", FRESH, {"a": seen(NEW, OLD, NEW), "b": seen()})
    assert (order.id, order.build, order.act, order.migrate, order.migrated) == (FRESH, {"a", "b"}, {"a", "b"}, "a", False)
    assert order.before == {"a": NEW, "b": ""}


def test_nothing_to_do() -> None:
    order = deploy("hello", FRESH, {"a": WELL, "b": WELL})
    assert (order.id, order.build, order.act, order.migrate) == (NEW, set(), set(), "")


@pytest.mark.parametrize(
    "changes",
    [
        {"unhealthy": "answered 500"},
        {"enabled": False},
        {"linked": False},
        {"running": [OLD, NEW]},
        {"releases": [{"id": NEW, "sequence": 1, "bad": "", "pending": "deploy", "verdict": "good"}]},
        {"releases": [{"id": NEW, "sequence": 0, "bad": "", "pending": "", "verdict": ""}]},
        {"releases": [{"id": NEW, "sequence": 2, "bad": "it leaks", "pending": "", "verdict": "bad"}]},
    ],
    ids=["ill", "not at boot", "link", "left over", "pending", "never confirmed", "bad"],
)
def test_what_is_live_and_not_finished_is_finished(changes: dict[str, Any]) -> None:
    order = deploy("hello", FRESH, {"a": seen(NEW, NEW, matches=(NEW,), **changes)})
    assert (order.id, order.build, order.act) == (NEW, set(), {"a"})


def test_a_server_that_lags_gets_what_the_others_have() -> None:
    """Their migration is its, too."""
    order = deploy("hello", FRESH, {"late": seen(OLD, OLD), "a": WELL})
    assert (order.id, order.build, order.act, order.migrate, order.migrated) == (NEW, {"late"}, {"late"}, "", True)


def test_the_same_content_under_two_ids_becomes_one() -> None:
    """What most have live, and of as many the newer one."""
    other = seen(TWIN, OLD, TWIN, matches=(TWIN,))
    for fleet, wanted in (({"a": WELL, "b": other}, TWIN), ({"a": WELL, "b": other, "c": WELL}, NEW)):
        order = deploy("hello", FRESH, fleet)
        assert order.id == wanted
        assert order.act == order.build == {host for host, one in fleet.items() if one.state.live != wanted}


def test_a_migration_that_was_run_is_not_run_again() -> None:
    """Whoever has noted it; also where no server has switched yet."""
    noted = seen(OLD, OLD, {"id": NEW, "migrated": True, "sequence": 0, "verdict": ""}, matches=(NEW,))
    other = seen(OLD, OLD, {"id": NEW, "sequence": 0, "verdict": ""}, matches=(NEW,))
    for fleet in ({"a": other, "b": noted}, {"a": noted, "b": other}):
        order = deploy("hello", FRESH, fleet)
        assert (order.id, order.migrate, order.migrated, order.act) == (NEW, "", True, {"a", "b"})


def test_what_was_bad_gets_another_try() -> None:
    """With a word."""
    bad = seen(OLD, OLD, {"id": NEW, "bad": "it leaks", "verdict": "bad", "reason": "it leaks"}, matches=(NEW,))
    order = deploy("hello", FRESH, {"a": bad})
    assert (order.id, order.build, order.act) == (NEW, set(), {"a"})
    assert retried(order, {"a": bad}) == f"hello: {NEW}, which is what you deploy, is marked bad and gets another try: it leaks"
    assert retried(deploy("hello", FRESH, {"a": WELL}), {"a": WELL}) == ""


# rollback


def test_rollback() -> None:
    order = rollback("hello", "", {"a": WELL, "b": WELL})
    assert (order.id, order.build, order.act, order.migrate) == (OLD, set(), {"a", "b"}, "")
    assert rollback("hello", NEW, {"a": WELL}).act == set()


def test_what_one_server_knows_to_be_bad_nobody_goes_back_to() -> None:
    fleet = {"a": seen(NEW, OLDER, OLD, NEW), "b": seen(NEW, OLDER, {"id": OLD, "bad": "never confirmed"}, NEW)}
    assert rollback("hello", "", fleet).id == OLDER
    with pytest.raises(DecisionError, match=rf"{OLD} is marked bad: never confirmed \(b\)"):
        rollback("hello", OLD, fleet)


def test_a_rollback_that_some_have_finished_is_finished() -> None:
    """And not done once more where it was."""
    finished = seen(OLD, OLDER, {"id": NEW, "bad": "rolled back"}, OLD)
    begun = seen(OLD, OLDER, {"id": NEW, "bad": "rolled back"}, {"id": OLD, "pending": "rollback"})
    order = rollback("hello", "", {"a": finished, "b": begun, "c": seen(NEW, OLDER, OLD, NEW)})
    assert (order.id, order.act) == (OLD, {"b", "c"})


def test_a_rollback_that_a_killed_run_has_just_ended_is_not_done_again() -> None:
    bad = {"id": NEW, "bad": "rolled back"}
    order = rollback("hello", "", {"a": seen(OLD, OLDER, bad, OLD, went_back=True)})
    assert (order.id, order.act) == (OLD, set())
    assert rollback("hello", "", {"a": seen(OLD, OLDER, bad, OLD)}).id == OLDER, "a second one is a second one"


def test_different_ways_back() -> None:
    with pytest.raises(DecisionError) as error:
        rollback("hello", "", {"a": seen(NEW, OLDER, NEW), "b": seen(NEW, OLD, NEW)})
    assert f"  a: {OLDER}, instead of {NEW}\n  b: {OLD}, instead of {NEW}\nNext: name one" in str(error.value)


def test_no_way_back() -> None:
    """The user is shown what there is."""
    with pytest.raises(DecisionError) as error:
        rollback("hello", OLDER, {"a": seen(NEW, {"id": OLDER, "bad": "it leaks", "revision": "0123456789abcdef"}, OLD, NEW)})
    assert str(error.value).splitlines() == [
        f"hello: {OLDER} is marked bad: it leaks. Nothing was touched.",
        "What has been live on a, the last first:",
        f"  {NEW}  went live 2026-01-03  no revision  live",
        f"  {OLD}  went live 2026-01-02  no revision  good",
        f"  {OLDER}  went live 2026-01-01  0123456789ab  bad: it leaks",
        "Next: name a good one with -e release=<id>, or check out the code that you want and deploy it.",
    ]
    with pytest.raises(DecisionError, match="the last first:\n  none\n"):
        rollback("hello", "", {"a": seen()})


# scale


def test_scale_takes_what_went_live_last() -> None:
    """Not what most have: they may have been down meanwhile."""
    old, new = seen(OLD, OLD), seen(NEW, OLD, NEW)
    order = scale("hello", {"fresh": seen(), "a": old, "b": old, "c": new})
    assert (order.id, order.reference, order.build, order.act) == (NEW, "c", {"fresh", "a", "b"}, {"fresh", "a", "b"})
    assert (order.migrate, order.migrated) == ("", True)


def test_scale_does_not_spread_what_was_undone() -> None:
    """A server was lost while the others took the release back: it alone has it as good."""
    undone = {"id": NEW, "bad": "the rollout failed on c", "verdict": "bad"}
    others = seen(OLD, undone, OLD)
    order = scale("hello", {"lost": seen(NEW, OLD, NEW), "a": others, "b": others})
    assert (order.id, order.reference, order.act) == (OLD, "a", {"lost"})


def test_scale_takes_what_was_agreed_on_though_its_hook_has_failed() -> None:
    assert scale("hello", {"a": seen(OLD, {"id": OLD, "pending": "rollback", "agreed": True})}).id == OLD


@pytest.mark.parametrize(
    ("fleet", "message"),
    [
        ({"a": seen()}, "no server has a confirmed release"),
        ({"a": seen(NEW, {"id": NEW, "pending": "deploy"})}, "no server has a confirmed release"),
        ({"a": seen(NEW, NEW, archive=False)}, "did not keep what it was built from"),
        ({"a": seen("../x")}, "what is live on a is no release that Plainstack has made"),
        ({"a": seen("20260101T000000Z-deadbeef\n")}, "no release that Plainstack has made"),
    ],
)
def test_nothing_to_scale(fleet: dict[str, Seen], message: str) -> None:
    with pytest.raises(DecisionError, match=message):
        scale("hello", fleet)


# upgrade


@pytest.mark.parametrize(
    ("fleet", "balanced", "message"),
    [
        ({"a": WELL, "b": seen(OLD, OLD)}, True, rf"  a: {NEW}\n  b: {OLD}\nNext: ansible-playbook scale.yml"),
        ({"a": WELL, "b": seen(NEW, NEW, unhealthy="answered 500")}, True, r"is live on b and not healthy(.|\n)*\n  b: it answered 500\n"),
        ({"a": WELL}, True, "one server alone"),
        ({"a": WELL}, False, ""),
        ({"a": WELL, "b": WELL}, True, ""),
    ],
)
def test_upgrade(fleet: dict[str, Seen], balanced: bool, message: str) -> None:
    if not message:
        upgrade(["hello"], {"hello": fleet}, balanced)
        return
    with pytest.raises(DecisionError, match=message):
        upgrade(["hello"], {"hello": fleet}, balanced)


# Restart, start and stop


def test_a_restart_is_a_release_of_its_own() -> None:
    order = restart("hello", "20260201T000000Z", {"a": WELL, "b": WELL})
    assert (order.id, order.build, order.act) == (f"20260201T000000Z-{NEW[-8:]}", {"a", "b"}, {"a", "b"})
    assert (order.migrate, order.migrated, order.reference, order.agreed) == ("", True, "a", False)
    assert order.before == {"a": NEW, "b": NEW}


def test_a_restart_of_what_is_not_confirmed_is_refused() -> None:
    with pytest.raises(DecisionError, match="no server has a confirmed release"):
        restart("hello", "20260201T000000Z", {"a": seen(NEW, {"id": NEW, "verdict": "bad", "bad": "it leaks"})})


def test_what_was_stopped_starts_where_it_was() -> None:
    stopped = seen(NEW, OLD, NEW, running=[], unhealthy="does not run", enabled=False)
    order = start("hello", {"a": WELL, "b": stopped})
    assert (order.id, order.build, order.act, order.reference, order.migrate) == (NEW, set(), {"b"}, "", "")


def test_servers_that_differ_are_not_started() -> None:
    with pytest.raises(DecisionError) as error:
        start("hello", {"a": WELL, "b": seen(OLD, OLD)})
    assert str(error.value).startswith(f"hello: the servers have different releases live; nothing was touched.\n  a: {NEW}\n  b: {OLD}\n")


@pytest.mark.parametrize("changes", [{"archive": False}, {"releases": [{"id": NEW, "sequence": 0, "bad": "", "pending": "deploy", "verdict": ""}]}])
def test_whatever_was_stopped_is_started(changes: dict[str, Any]) -> None:
    """Also what was never confirmed, or kept no archive: nothing is built."""
    order = start("hello", {"a": seen(NEW, NEW, running=[], unhealthy="does not run", **changes)})
    assert (order.id, order.act, order.reference) == (NEW, {"a"}, "")


def test_a_restart_that_was_killed_after_its_switch_is_finished() -> None:
    begun = seen(TWIN, NEW, {"id": TWIN, "sequence": 0, "pending": "restart", "verdict": ""})
    waiting = seen(NEW, NEW, {"id": TWIN, "sequence": 0, "verdict": ""})
    for fleet in ({"a": begun}, {"a": waiting, "b": begun}):
        order = restart("hello", "20260201T000000Z", fleet)
        assert (order.id, order.build, order.act, order.reference, order.migrated) == (TWIN, set(), {*fleet}, "", True)


def test_a_stop_needs_a_release_and_nothing_else() -> None:
    order = stopping("hello", {"a": seen(), "b": seen(NEW, {"id": NEW, "verdict": "bad", "bad": "it leaks"})})
    assert (order.id, order.build, order.act, order.before) == (NEW, set(), set(), {"a": "", "b": NEW})
    with pytest.raises(DecisionError, match="no server has a release of it"):
        stopping("hello", {"a": seen()})
