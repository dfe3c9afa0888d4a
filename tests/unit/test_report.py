"""The page of `status`: inert whatever a server says, complete, and drawn as the fleet is wired."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.report import page, wiring

from tests.unit.test_status import NOW, app, server

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;\x1b[2J\u202e"
VOID = {"meta", "rect", "path", "br"}


class Page(HTMLParser):
    """Its elements and texts; fails where one is not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.said.append(data)


def hour(**more: Any) -> list[dict[str, Any]]:
    """Minute 10 is without requests, minute 30 has errors."""
    ordinary = {"requests": 100, "errors": 0, "p50": 0.01, "p99": 0.2}
    found = [{"time": NOW - 3540 + place * 60, **ordinary, **more} for place in range(60)]
    found[10] = {**found[10], "requests": 0, "errors": 0, "p50": 0.0, "p99": 0.0}
    found[30] = {**found[30], "errors": 40}
    return found


def drawn(text: str, kind: str) -> list[dict[str, str | None]]:
    return [attributes for _tag, attributes in Page(text).elements if attributes.get("class") == kind]


def test_hostile_names_are_inert() -> None:
    bad = app(name=HOSTILE, unhealthy=HOSTILE, deployed_by=HOSTILE, differs=[HOSTILE], live=HOSTILE, revision=HOSTILE, minutes=hour())
    told = server(apps=[bad], system=HOSTILE, nginx=HOSTILE, unknown=[HOSTILE], reboot={"required": True, "packages": [HOSTILE]})
    text = page({HOSTILE: told, "web2": {"error": HOSTILE}}, [], NOW)
    found = Page(text)
    assert {tag for tag, _attributes in found.elements} & {"script", "img", "a", "link", "iframe", "image", "use", "foreignObject"} == set()
    assert [name for _tag, attributes in found.elements for name in attributes if name.startswith("on") or name in ("src", "href", "style")] == []
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert any("<script>alert(1)</script>" in said for said in found.said)  # as text


def test_it_loads_nothing() -> None:
    text = page({"web1": server(apps=[app(minutes=hour())])}, [], NOW)
    assert re.search(r"https?:|url\(|@import|//", text) is None
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": "default-src 'none'; style-src 'unsafe-inline'"}) in Page(text).elements


def test_the_plots() -> None:
    text = page({"web1": server(apps=[app(minutes=hour())])}, [], NOW)
    assert len(drawn(text, "requests")) == 59
    (errors,) = drawn(text, "errors")
    assert errors["height"] == "33.6"  # 40 of 100 of the height
    (p99,) = drawn(text, "p99")
    assert (p99["d"] or "").count("M") == 2  # the minute without requests interrupts the line
    said = " ".join(Page(text).said)
    assert "5900" in said
    assert "40 of them 5xx" in said
    assert "11:01" in said
    assert "12:00 UTC" in said


def test_one_error_among_many_is_seen_and_none_is_not() -> None:
    few = [{**one, "errors": 1 if place == 5 else 0, "requests": 10**6} for place, one in enumerate(hour())]
    assert [one["height"] for one in drawn(page({"web1": server(apps=[app(minutes=few)])}, [], NOW), "errors")] == ["2.0"]
    silent = [{**one, "requests": 0, "errors": 0, "p50": 0.0, "p99": 0.0} for one in hour()]
    text = page({"web1": server(apps=[app(minutes=silent)])}, [], NOW)
    assert [drawn(text, kind) for kind in ("requests", "errors", "p50", "p99")] == [[], [], [], []]


def test_the_heights_of_the_bars_are_valid() -> None:
    all_failed = [{**one, "errors": one["requests"]} for one in hour()]
    text = page({"web1": server(apps=[app(minutes=all_failed)])}, [], NOW)
    assert all(float(attributes["height"] or 0) > 0 for tag, attributes in Page(text).elements if tag == "rect")


@pytest.mark.parametrize(
    ("seen", "balancers", "expected"),
    [
        ({"web1": server()}, [], [(0, None, "visitors"), (1, 0, "web1"), (2, 1, "hello")]),
        (
            {"lb1": server(apps=[]), "lb2": server(apps=[]), "web1": server(), "work1": server(nginx=""), "web2": {"error": "no route"}},
            ["lb1", "lb2"],
            [
                (0, None, "visitors"),
                (1, 0, "lb1"),
                (1, 0, "lb2"),
                (2, 1, "web1"),
                (3, 3, "hello"),
                (2, 1, "web2"),
                (0, None, "work1"),
                (1, 6, "hello"),
            ],
        ),
        ({}, [], [(0, None, "visitors")]),
    ],
)
def test_the_wiring(seen: dict[str, Any], balancers: list[str], expected: list[tuple[int, int | None, str]]) -> None:
    assert [(node.depth, node.above, node.name) for node in wiring(seen, balancers)] == expected
    Page(page(seen, balancers, NOW))


@pytest.mark.parametrize(
    ("seen", "ill", "says"),
    [
        (server(), False, "healthy"),
        (server(apps=[app(unhealthy="answered 500")]), True, "unhealthy"),
        (server(apps=[app(live="", unhealthy="no release is live")]), True, "nothing is live"),
        (server(apps=[app(maintenance={"time": "20261127T140000Z"})]), False, "in maintenance"),
    ],
)
def test_what_is_said_of_an_app(seen: dict[str, Any], ill: bool, says: str) -> None:
    node = wiring({"web1": seen}, [])[-1]
    assert (node.ill, node.says) == (ill, says)


def test_what_is_wrong_is_said() -> None:
    assert "● No problem was found." in Page(page({"web1": server()}, [], NOW)).said
    said = Page(page({"web1": server(nginx="failed"), "web2": {"error": "no route"}}, [], NOW)).said
    assert "▲ 2 problems" in said
    assert "web2: no route" in said
    assert "nginx: failed" in said
