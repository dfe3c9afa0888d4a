"""The digest of a service's files."""

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.stamp import digest

FILES: list[dict[str, Any]] = [{"dest": "/etc/a", "content": "x"}, {"dest": "/etc/b", "content": "y", "mode": "0600"}]


@pytest.mark.parametrize(
    ("files", "same"),
    [
        ([{"dest": "/etc/a", "content": "x", "mode": "0644", "other": 1}, FILES[1]], True),
        ([{**FILES[0], "content": "z"}, FILES[1]], False),
        ([{**FILES[0], "dest": "/etc/c"}, FILES[1]], False),
        ([{**FILES[0], "mode": "0600"}, FILES[1]], False),
        (FILES[:1], False),
        (FILES[::-1], False),
        ([], False),
    ],
)
def test_digest(files: list[dict[str, Any]], same: bool) -> None:
    assert (digest(files) == digest(FILES)) is same
