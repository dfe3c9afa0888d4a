"""Requirements files as editors and PowerShell write them."""

from pathlib import Path

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.requirements import problems

TEXT = "flask==3.0.0  # für später\r\n"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (TEXT.encode(), ""),
        (TEXT.encode("utf-8-sig"), ""),
        (b"", ""),
        (TEXT.encode("utf-16"), "'requirements.txt' is not UTF-8, which uv needs; it looks like UTF-16. Convert it: iconv -f UTF-16 -t UTF-8 requirements.txt"),
        (b"\xfe\xff" + TEXT.encode("utf-16-be"), "it looks like UTF-16"),
        (b"\xff\xfe\0\0" + TEXT.encode("utf-32-le"), "it looks like UTF-32"),
        ("flask\n".encode("utf-16-le"), "'requirements.txt' has NUL bytes; it looks like UTF-16 without a mark"),
        (b"flask\n" + TEXT.encode("cp1252"), "which uv needs (line 2, byte 0xfc); it looks like cp1252. Convert it: iconv -f cp1252"),
    ],
    ids=["UTF-8 and CRLF", "BOM", "empty", "UTF-16", "big endian", "UTF-32", "UTF-16 without BOM", "cp1252"],
)
def test_encoding(tmp_path: Path, data: bytes, says: str) -> None:
    (tmp_path / "requirements.txt").write_bytes(data)
    found = problems(str(tmp_path), "requirements.txt")
    assert len(found) == bool(says)
    assert says in "".join(found)


@pytest.mark.parametrize("line", ["-r base.txt", "-c base.txt # why", "--requirement=base.txt", "--constraint 'base.txt'", "-rbase.txt"])
def test_what_is_included_counts_too(tmp_path: Path, line: str) -> None:
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements/prod.txt").write_text(f"﻿-r https://example.com/x.txt\r\n-r missing.txt\r\n-r prod.txt\r\n{line}\r\n", encoding="utf-8")
    (tmp_path / "requirements/base.txt").write_bytes(TEXT.encode("utf-16"))
    [found] = problems(str(tmp_path), "requirements/prod.txt")
    assert "'requirements/base.txt' is not UTF-8" in found
