"""What is read from the access log, and when a canary does worse than the rest."""

import json
import time
from pathlib import Path

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.plainstack.web.plugins.module_utils.traffic import Traffic, read, together, worse
from ansible_collections.plainstack.web.plugins.modules import traffic


def line(status: int = 200, seconds: str = "0.010", app: str = "hello", agent: str = "curl") -> str:
    return f'10.0.0.1 - - [22/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" {status} 12 "-" "{agent}" hello.test 0.020 {seconds} unix:/srv/{app}/live.sock\n'


def test_read() -> None:
    lines = [line(), line(502, "0.300"), line(500, "0.020", agent='a" 599 1 "b'), line(app="other"), line(seconds="-"), "nonsense\n"]
    assert read(lines, "hello") == Traffic(3, 2, 0.3)
    assert read([], "hello") == Traffic(0, 0, 0.0)


def test_p95_leaves_out_the_slowest_of_twenty() -> None:
    assert read([*[line()] * 19, line(seconds="9.0")], "hello").p95 == 0.01
    assert read([*[line()] * 18, *[line(seconds="9.0")] * 2], "hello").p95 == 9.0


def test_together() -> None:
    assert together([Traffic(10, 1, 0.1), Traffic(5, 0, 0.3)]) == Traffic(15, 1, 0.3)


@pytest.mark.parametrize(
    ("canary", "rest", "word"),
    [
        (Traffic(100, 0, 0.1), Traffic(100, 0, 0.1), ""),
        (Traffic(100, 1, 0.1), Traffic(100, 0, 0.1), ""),
        (Traffic(100, 2, 0.1), Traffic(100, 0, 0.1), "2 of 100 answers were errors"),
        (Traffic(100, 2, 0.1), Traffic(100, 1, 0.1), ""),
        # Too few to tell; and where the rest has too few, errors are errors all the same
        (Traffic(19, 19, 9.0), Traffic(100, 0, 0.1), ""),
        (Traffic(20, 1, 0.1), Traffic(0, 0, 0.0), "1 of 20 answers were errors"),
        (Traffic(20, 0, 9.0), Traffic(19, 0, 0.1), ""),
        (Traffic(100, 0, 0.25), Traffic(100, 0, 0.1), ""),
        (Traffic(100, 0, 0.26), Traffic(100, 0, 0.1), "took up to 0.26 s, on the rest up to 0.10 s"),
    ],
)
def test_worse(canary: Traffic, rest: Traffic, word: str) -> None:
    found = worse(canary, rest)
    assert word in found
    assert bool(found) is bool(word)


def test_only_what_is_written_meanwhile_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Also when the log is rotated."""
    log = tmp_path / "access.log"
    log.write_text(line(500) * 5, encoding="utf-8")

    def sleep(seconds: float) -> None:
        assert seconds == 7
        with log.open("a", encoding="utf-8") as stream:
            stream.write(line() * 3)
        log.rename(tmp_path / "access.log.1")
        log.write_text(line(502), encoding="utf-8")

    monkeypatch.setattr(time, "sleep", sleep)
    with patch_module_args({"apps": ["hello"], "seconds": 7, "log": str(log)}), pytest.raises(SystemExit):
        traffic.main()
    result = json.loads(capsys.readouterr().out)["apps"]["hello"]
    assert (result["requests"], result["errors"], result["p95"]) == (4, 1, 0.01)
