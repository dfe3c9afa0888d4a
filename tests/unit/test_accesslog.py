"""Requests of the last minutes, from nginx's access log."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host.accesslog import minutes, moment, percentile, recent, requests

NOON = 1795780800  # 2026-11-27T12:00:00Z


def line(minute: int, status: int = 200, taken: str = "0.010", app: str = "hello", client: str = "192.0.2.1", agent: str = "curl") -> str:
    at = f"27/Nov/2026:12:{minute:02d}:00 +0000"
    return f'{client} - - [{at}] "GET /[x] HTTP/1.1" {status} 12 "-" "{agent}" hello.test 9.000 {taken} unix:/srv/{app}/live.sock'


STATIC = '192.0.2.1 - - [27/Nov/2026:12:09:00 +0000] "GET /static/a.css HTTP/1.1" 200 12 "-" "-" hello.test 0.000 - -'


@pytest.mark.parametrize(
    ("text", "at"),
    [
        (line(1), NOON + 60),
        (line(1).replace("+0000", "+0200"), NOON + 60 - 7200),
        (line(1).replace(" - - ", " - [a]b "), NOON + 60),
        (line(1).replace("Nov", "nov."), 0),
        ("", 0),
        ('x "[27/Nov/2026:12:01:00 +0000] "', 0),
    ],
)
def test_when_a_request_ended(text: str, at: float) -> None:
    assert moment(text) == at


def test_what_is_recent(tmp_path: Path) -> None:
    """Over a rotation, and no further than needed."""
    (tmp_path / "log.1").write_text("\n".join([line(1), line(4), line(5)]) + "\n")
    (tmp_path / "log").write_text("\n".join(["noise", line(6), STATIC]) + "\n")
    assert [moment(one) - NOON for one in recent(NOON + 240, str(tmp_path / "log"))] == [540, 360, 300, 240]


def test_requests_of_each_app(tmp_path: Path) -> None:
    """Those that it has answered; no health checks, no static files, and a WebSocket's hour is no time that a request took."""
    lines = [line(1, 500), *[line(5, taken=f"0.{number:03d}") for number in range(1, 99)], line(5, 502, "3.500"), line(5, 503, "4.500"), STATIC]
    lines += [line(6, client="127.0.0.1", agent="Plainstack"), line(6, agent="Plainstack"), line(6, 101, "3600.0"), line(6, app="other"), line(6, app="gone")]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    found = requests(["hello", "other", "idle"], NOON + 300, str(tmp_path / "log"))
    assert found["hello"] == {"requests": 102, "errors": 2, "p50": 0.05, "p99": 3.5}
    assert found["other"] == {"requests": 1, "errors": 0, "p50": 0.01, "p99": 0.01}
    assert found["idle"] == {"requests": 0, "errors": 0, "p50": 0.0, "p99": 0.0}


def test_requests_by_minute(tmp_path: Path) -> None:
    """Each minute by itself; what is older than an hour, or of other apps, does not count."""
    lines = [line(0).replace(":12:00:", ":11:10:"), line(1), line(5, 502, "0.500"), line(5, taken="0.020"), line(6, 101, "3600.0"), line(6, app="other")]
    (tmp_path / "log").write_text("\n".join(lines) + "\n")
    found = minutes(["hello", "idle"], NOON + 610, str(tmp_path / "log"))["hello"]
    assert [one["time"] for one in found] == [NOON + 660 - 3600 + place * 60 for place in range(60)]
    met = {int(one["time"] - NOON) // 60: (one["requests"], one["errors"], one["p50"], one["p99"]) for one in found if one["requests"]}
    assert met == {1: (1, 0, 0.01, 0.01), 5: (2, 1, 0.02, 0.5), 6: (1, 0, 0.0, 0.0)}
    assert minutes(["hello"], NOON + 60, str(tmp_path / "log"))["hello"][-1]["requests"] == 1  # later ones are of a clock that was put back


@pytest.mark.parametrize(("part", "value"), [(0.5, 2.0), (0.99, 4.0), (0.01, 1.0), (1, 4.0)])
def test_percentile(part: float, value: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], part) == value
    assert percentile([], part) == 0.0
