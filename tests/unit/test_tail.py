"""The end of a log file, read backwards."""

from __future__ import annotations

import os
from pathlib import Path

from ansible_collections.plainstack.web.plugins.module_utils.host import tail
from ansible_collections.plainstack.web.plugins.module_utils.host.tail import backwards
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@given(lines=st.lists(st.text("aé ", max_size=9)), block=st.integers(1, 40), ended=st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_lines_the_last_one_first(tmp_path: Path, lines: list[str], block: int, ended: bool) -> None:
    file = tmp_path / "log"
    file.write_text("\n".join(lines) + ("\n" if ended else ""), encoding="utf-8")
    before, tail.BLOCK = tail.BLOCK, block
    try:
        assert list(backwards(str(file), 10**6)) == [line for line in reversed(lines) if line]
    finally:
        tail.BLOCK = before


def test_no_more_is_read_than_may_be(tmp_path: Path) -> None:
    """A line that began before is none."""
    (tmp_path / "log").write_text("first\nsecond\nthird\n")
    assert list(backwards(str(tmp_path / "log"), 10)) == ["third"]


def test_what_is_no_file(tmp_path: Path) -> None:
    """A link may lead anywhere, and a pipe would wait."""
    (tmp_path / "secret").write_text("secret\n")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    assert [list(backwards(str(tmp_path / name), 100)) for name in ("link", "pipe", "missing", ".")] == [[], [], [], []]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"a\xff\n")
    assert list(backwards(str(tmp_path / "log"), 100)) == ["a\ufffd"]
