"""A package of the workspace."""

import sys


def hello() -> str:
    """What the page says."""
    return f"Hello from Python {sys.version_info[0]}.{sys.version_info[1]}"
