"""Counting what an instance still has to do."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host import drain as drain_module
from ansible_collections.plainstack.web.plugins.module_utils.host.drain import connections, drain

from tests.unit.fakes import Clock

TABLE = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000000: 00000002 00000000 00010000 0001 01   100 /run/plainstack/hello/1.sock
0000000000000000: 00000003 00000000 00000000 0001 03   101 /run/plainstack/hello/1.sock
0000000000000000: 00000003 00000000 00000000 0001 03   102 /run/plainstack/hello/1.sock.old
0000000000000000: 00000003 00000000 00000000 0001 03   103 /run/plainstack/hello/11.sock
0000000000000000: 00000003 00000000 00000000 0001 03   104
0000000000000000: 00000003 00000000 00000000 0001 04   105 /run/plainstack/hello/1.sock
0000000000000000: 00000003 00000000 00000000 0001 03   106 /run/a name with spaces.sock
"""


@pytest.mark.parametrize(("path", "count"), [("/run/plainstack/hello/1.sock", 1), ("/run/a name with spaces.sock", 1), ("/run/plainstack/hello/2.sock", 0)])
def test_the_kernels_table(tmp_path: Path, path: str, count: int) -> None:
    (tmp_path / "unix").write_text(TABLE)
    assert connections(path, str(tmp_path / "unix")) == count


def test_a_name_that_pretends_to_be_a_line(tmp_path: Path) -> None:
    """An app cannot hold up another's old release by sockets of its own, whatever their names are; this is the kernel's own table."""
    path = "/run/plainstack/ab/20260101T000000Z-aaaaaaaa.sock"
    line = f"0000000000000000: 00000003 00000000 00000000 0001 03 {{inode}} {path}"
    names = [f"\0x\na b c d e 03 g {path}", "\0\n" + line.format(inode=1), "\0\r" + line.format(inode=1), "\0\x85" + line.format(inode=1)]
    with contextlib.ExitStack() as stack:
        for name in names:
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            one.bind(name.encode("latin-1"))
            one.listen()
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(name.encode("latin-1"))
        assert connections(path) == 0
    longest = "\0\n" + line.format(inode="12345")
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(OSError, match="too long"):
        one.bind(longest)


def test_no_table(tmp_path: Path) -> None:
    assert connections("/run/a.sock", str(tmp_path / "unix")) == 0


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "a.sock"))
        one.listen()
        yield one


def test_requests_that_the_app_works_on(tmp_path: Path, listener: socket.socket) -> None:
    path = str(tmp_path / "a.sock")
    assert connections(path) == 0  # it listens, which is no request
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(path)
        second.connect(path)
        with listener.accept()[0], listener.accept()[0]:
            assert connections(path) == 2
            assert connections(f"{path}2") == 0
        assert connections(path) == 0


def test_requests_that_wait_to_be_accepted(tmp_path: Path, listener: socket.socket) -> None:
    """Where the app's workers are busy or its process is restarted, requests wait in the socket's queue."""
    path = str(tmp_path / "a.sock")
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(path)
        second.connect(path)
        assert connections(path) == 2
        with listener.accept()[0]:
            assert connections(path) == 2


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(drain_module, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("counts", "seconds", "left", "took"),
    [
        ([0], 30, 0, 0.1),  # nginx gets a moment even so
        ([2, 1, 0], 30, 0, 0.2),
        ([3], 5, 3, 5),
        ([3], 0, 3, 0.1),
    ],
)
def test_drain(monkeypatch: pytest.MonkeyPatch, clock: Clock, counts: list[int], seconds: float, left: int, took: float) -> None:
    def count(path: str) -> int:
        assert path == "/run/a.sock"
        return counts.pop(0) if len(counts) > 1 else counts[0]

    monkeypatch.setattr(drain_module, "connections", count)
    began = clock.now
    assert drain("/run/a.sock", seconds) == left
    assert clock.now - began == pytest.approx(took, abs=0.06)
