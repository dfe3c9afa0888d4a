"""How long nginx waits for the answer of an app: a file of its configuration that belongs to the release, and that the switch keeps. Pure."""

from __future__ import annotations

BALANCER = 5  # seconds that a load balancer waits longer: the app server says 504 first


def directives(seconds: int) -> str:
    """What is in the file."""
    return f"proxy_read_timeout {seconds}s;\nproxy_send_timeout {seconds}s;\n"
