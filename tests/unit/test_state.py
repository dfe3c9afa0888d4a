"""What follows from what is live, bad, running or left over."""

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.state import (
    Release,
    State,
    StateError,
    before,
    by_going_live,
    next_sequence,
    rollback_target,
    strays,
    surplus,
    to_retire,
    unsettled,
    with_old_files,
)


def state(live: str, releases: str, runs: str = "") -> State:
    """Each release is a letter, the number of its going live, and `!` where it is bad, `d` or `r` where a switch to it is pending."""

    def parse(word: str) -> Release:
        pending = {"d": "deploy", "r": "rollback"}.get(word[-1], "")
        return Release(word[0], int("".join(filter(str.isdigit, word)) or 0), "of no use" if "!" in word else "", pending)

    return State(live, tuple(parse(word) for word in releases.split()), frozenset(runs))


@pytest.mark.parametrize(
    ("live", "releases", "target"),
    [
        ("C", "A1 B2 C3", "B"),
        ("B", "A1 B2 C3", "C"),  # by hand
        ("A", "A9 B2 C3", "C"),  # not by age: A has been live last, and C before it
        ("B", "A1 B4 C3!", "A"),  # the second rollback in a row
        ("C", "A1 B2! C3", "A"),
        ("C", "A1 B2 C3 D", "B"),  # D was never live
        ("C", "A1 B2 D C3r", "C"),  # a rollback that ended right after its switch
        ("C", "A1 B2 Cr", "C"),
        ("C", "A1 B2 C3d", "B"),
        ("C", "A1 B2 Cd", "B"),
        ("C", "A1 B2r C3", "B"),  # one that ended right before its switch
        ("", "A1 B2", "B"),
        ("", "A1 B2r", "B"),
    ],
)
def test_where_a_rollback_leads(live: str, releases: str, target: str) -> None:
    assert rollback_target(state(live, releases)) == target


def test_rollbacks_in_a_row_walk_back() -> None:
    assert rollback_target(state("D", "A1 B2 C3 D4")) == "C"
    assert rollback_target(state("C", "A1 B2 C5 D4!")) == "B"
    assert rollback_target(state("B", "A1 B6 C5! D4!")) == "A"


@pytest.mark.parametrize(
    ("live", "releases", "message"),
    [
        ("", "", "there is no release to go back to$"),
        ("A", "A1", "there is no release to go back to$"),
        ("A", "A1 B", "there is no release to go back to$"),
        ("C", "A1! B2! C3", "there is no release to go back to: the 2 others that are on the host are marked bad$"),
        ("C", "A1! C3!", "there is no release to go back to: the 1 others"),
    ],
)
def test_there_is_nothing_to_go_back_to(live: str, releases: str, message: str) -> None:
    with pytest.raises(StateError, match=message):
        rollback_target(state(live, releases))


@pytest.mark.parametrize("name", ["A", "B", "C"])
def test_a_named_release(name: str) -> None:
    assert rollback_target(state("C", "A1 B2 C3"), name) == name
    assert rollback_target(state("C", "A1 B2 C3r"), name) == name
    assert rollback_target(state("C", "A1 B2 C3!"), "C") == "C"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("X", "^there is no release X on the host: it was removed, or never was there$"),
        ("A", "^A is marked bad: of no use$"),
        ("N", "^N has never been live$"),
    ],
)
def test_a_named_release_that_will_not_do(name: str, message: str) -> None:
    with pytest.raises(StateError, match=message):
        rollback_target(state("C", "A1! N C3"), name)


def test_before_is_empty_where_there_is_none() -> None:
    assert before(state("A", "A1 B2! C")) == ""


def test_the_order_of_going_live() -> None:
    found = state("B", "A7 B1 C2 D E0")
    assert [release.id for release in by_going_live(found)] == ["A", "C", "B"]
    assert next_sequence(found) == 8  # some in between were removed
    assert next_sequence(state("", "")) == next_sequence(state("", "A")) == 1


@pytest.mark.parametrize(
    ("live", "releases", "expected"),
    [
        ("A", "A1", False),
        ("A", "A", True),
        ("A", "A1d", True),
        ("A", "A1r", True),
        ("A", "Ad", True),
        ("A", "A1 Bd", False),
        ("", "Ad", False),
        ("X", "Ad", False),  # somebody removed what is live
    ],
)
def test_unsettled(live: str, releases: str, expected: bool) -> None:
    assert unsettled(state(live, releases)) is expected


@pytest.mark.parametrize(
    ("live", "releases", "runs", "wanted", "expected"),
    [
        ("B", "A1 B2 C D", "BCD", "D", ["C"]),
        ("B", "A1 B2 C D", "BDC", "B", ["C", "D"]),
        ("B", "A1 B2 C D", "BDC", "CD", []),
        ("B", "A1 B2 C", "ABC", "C", []),  # A still drains
        ("B", "A1 Bd C", "BC", "C", []),  # live, but not noted yet
        ("B", "A1 B2", "BX", "B", ["X"]),  # its release is gone
        ("", "C D", "CD", "D", ["C"]),
    ],
)
def test_strays(live: str, releases: str, runs: str, wanted: str, expected: list[str]) -> None:
    assert strays(state(live, releases, runs), set(wanted)) == expected


@pytest.mark.parametrize(
    ("live", "runs", "wanted", "expected"),
    [("B", "B", "", []), ("B", "CAB", "", ["A", "C"]), ("B", "AX", "", ["A", "X"]), ("", "A", "", ["A"]), ("B", "CAB", "CX", ["A"])],
)
def test_to_retire(live: str, runs: str, wanted: str, expected: list[str]) -> None:
    assert to_retire(state(live, "A1 B2 C", runs), set(wanted)) == expected


@pytest.mark.parametrize(
    ("keep", "live", "releases", "runs", "expected"),
    [
        (2, "E", "A1 B2 C3 D4 E5", "E", "ABC"),
        (3, "E", "A1 B2 C3 D4 E5", "E", "AB"),
        (5, "E", "A1 B2 C3 D4 E5", "E", ""),
        (9, "E", "A1 B2 C3 D4 E5", "E", ""),
        (3, "A", "A6 B2 C3 D4 E5", "A", "BC"),  # by order of going live, not by age
        (2, "A", "A6 B2 C3 D4! E5!", "A", "BDE"),  # after two rollbacks: the next one leads to C
        (3, "F", "A1 B2! C3! D4! E5! F6", "F", "BCD"),  # more bad ones than are kept, and yet A to go back to
        (2, "F", "A1! B2! F6", "F", "A"),
        (2, "E", "A1 B2 C3 D4 E5", "BE", "AC"),  # B still drains
        (3, "E", "A1 B2 C3 D4 E5", "BE", "AC"),  # and counts
        (2, "E", "A1 B2 C3 D4 E5", "", "ABC"),  # what is live has crashed
        (5, "E", "A D4 B E5 C", "E", "ABC"),  # left-overs
        (5, "E", "A D4 B E5 C", "BE", "AC"),
        (5, "E", "D4 Ed", "E", ""),  # live, but not noted yet
        (1, "E", "C3 D4 E5", "E", "C"),
        (0, "E", "C3 D4 E5", "E", "C"),
        (2, "", "A1 B2 C3", "", "A"),
        (2, "", "", "", ""),
    ],
)
def test_surplus(keep: int, live: str, releases: str, runs: str, expected: str) -> None:
    assert sorted(surplus(state(live, releases, runs), keep)) == list(expected)


def test_the_surplus_goes_oldest_first() -> None:
    assert surplus(state("E", "A3 B1 C2 D4 E5 N M"), 2) == ["M", "N", "B", "C", "A"]


@pytest.mark.parametrize(
    ("wanted", "count", "expected"),
    [("N", 5, ["C", "B", "A"]), ("N", 2, ["C", "B"]), ("N", 0, []), ("B", 5, ["C", "A"]), ("C", 1, ["B"])],
)
def test_with_old_files(wanted: str, count: int, expected: list[str]) -> None:
    """Bad ones too: a page loaded from one may still be open."""
    assert with_old_files(state("C", "A1 B2! C3 N M"), wanted, count) == expected


def again(identifier: str, number: int, of: str, bad: str = "") -> Release:
    """A restart of a release."""
    return Release(identifier, number, bad, "", of)


def test_what_was_restarted_is_nothing_to_go_back_to() -> None:
    found = State("R", (Release("A", 1), Release("B", 2), again("R", 3, "B")), frozenset("R"))
    assert before(found) == "A"
    assert rollback_target(found, "B") == "B", "where somebody names it"
    assert surplus(found, 5) == ["B"]
    assert before(State("S", (*found.releases, again("S", 4, "B")), frozenset("S"))) == "A"


def test_what_was_restarted_stays_while_it_runs_or_serves() -> None:
    releases = (Release("A", 1), Release("B", 2), again("R", 3, "B"))
    assert surplus(State("R", releases, frozenset("RB")), 5) == []
    assert before(State("B", releases, frozenset("B"))) == "A"


def test_a_restart_of_an_older_release_is_a_release_to_go_back_to() -> None:
    found = State("C", (Release("A", 1), again("R", 3, "B"), Release("C", 4)), frozenset("C"))
    assert before(found) == "R"
