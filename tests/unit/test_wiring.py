"""What the roles get from the definition."""

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.wiring import certificates, release_config, sites

APP: dict[str, Any] = {
    "name": "hello",
    "source": "/src",
    "module": "wsgi:app",
    "domains": ["hello.example.com", "www.hello.example.com"],
    "python": "system",
    "requirements": "uv.lock",
    "env": {"A": "1"},
    "secrets": {"B": "2"},
    "static": {"/static": "hello/static"},
    "shared": [],
    "health_path": "/",
    "start_timeout": 60,
    "workers": None,
    "threads": 4,
    "timeout": 30,
    "max_requests": 1000,
    "memory_max": "80%",
    "preload": True,
    "body_size": "10m",
    "migrate": "flask db upgrade",
    "hook_timeout": 600,
    "after_live": "",
    "confirm_seconds": 2,
    "keep_releases": 2,
    "certificate": None,
    "certificate_key": None,
}
OWN = {**APP, "name": "own", "certificate": "/home/me/own.pem", "certificate_key": "/home/me/own.key"}


@pytest.mark.parametrize(
    ("key", "value", "new_release"),
    [
        ("module", "x:app", True),
        ("python", "3.13", True),
        ("workers", 3, True),
        ("timeout", 5, True),
        ("body_size", "1m", False),
        ("domains", [], False),
        ("migrate", "", False),
        ("after_live", "true", False),
        ("keep_releases", 9, False),
        ("confirm_seconds", 9, False),
    ],
)
def test_what_needs_a_new_release(key: str, value: Any, new_release: bool) -> None:
    assert (release_config({**APP, key: value}, "1.0") != release_config(APP, "1.0")) is new_release


def test_another_version_of_plainstack_needs_a_new_release() -> None:
    assert release_config(APP, "1.1") != release_config(APP, "1.0")


def test_the_environment_is_not_in_the_config() -> None:
    assert not {"env", "secrets"} & set(release_config(APP, "1.0"))


def test_sites() -> None:
    site, own = sites([APP, OWN])
    assert site == {
        "name": "hello",
        "domains": ["hello.example.com", "www.hello.example.com"],
        "socket": "/srv/hello/live.sock",
        "certificate": "/etc/letsencrypt/live/hello/fullchain.pem",
        "certificate_key": "/etc/letsencrypt/live/hello/privkey.pem",
        "static": ["/static"],
        "static_roots": ["/srv/hello/live/.static", "/srv/hello/before/1/.static", "/srv/hello/before/2/.static"],
        "timeout": 30,
        "body_size": "10m",
    }
    assert (own["certificate"], own["certificate_key"]) == ("/etc/nginx/certificates/own.pem", "/etc/nginx/certificates/own.key")


def test_no_acme_for_an_app_with_its_own_certificate() -> None:
    assert certificates([APP, OWN]) == [{"name": "hello", "domains": ["hello.example.com", "www.hello.example.com"]}]
