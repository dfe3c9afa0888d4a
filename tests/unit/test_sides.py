"""Where code runs is said by its directory: `controller` or `host`; what both need lies beside them."""

import re
from pathlib import Path

import pytest

UTILS = Path(__file__).parents[2] / "plugins" / "module_utils"
IMPORT = re.compile(r"plugins\.module_utils\.(controller|host)\b")


@pytest.mark.parametrize("side", ["controller", "host", ""])
def test_no_side_uses_the_other(side: str) -> None:
    for file in sorted((UTILS / side).glob("*.py")):
        assert {*IMPORT.findall(file.read_text(encoding="utf-8"))} <= {side}, file.name


def test_no_module_uses_the_controllers() -> None:
    """A module is sent to the host with all that it imports."""
    for file in sorted((UTILS.parent / "modules").glob("*.py")):
        assert "controller" not in IMPORT.findall(file.read_text(encoding="utf-8")), file.name
