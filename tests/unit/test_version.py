"""The version that releases are for is the collection's."""

from pathlib import Path

import yaml
from ansible_collections.plainstack.web.plugins.module_utils.version import VERSION


def test_version() -> None:
    assert yaml.safe_load((Path(__file__).parents[2] / "galaxy.yml").read_text(encoding="utf-8"))["version"] == VERSION
