"""What the roles get from the definition."""

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import with_defaults
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import (
    WiringError,
    addresses,
    balanced_sites,
    certificates,
    issuers,
    of_host,
    release_config,
    sites,
)

APP: dict[str, Any] = {
    **with_defaults({}),
    "name": "hello",
    "source": "/src",
    "module": "wsgi:app",
    "domains": ["hello.example.com", "www.hello.example.com"],
    "requirements": "uv.lock",
    "env": {"A": "1"},
    "secrets": {"B": "2"},
    "static": {"/static": "hello/static"},
    "max_requests": 1000,
    "migrate": "flask db upgrade",
    "keep_releases": 2,
}
OWN = {**APP, "name": "own", "certificate": "/home/me/own.pem", "certificate_key": "/home/me/own.key"}


@pytest.mark.parametrize(
    ("key", "value", "new_release"),
    [
        ("module", "x:app", True),
        ("server", "asgi", True),
        ("gunicorn", {"loglevel": "debug"}, True),
        ("packages", ["libpq5"], False),
        ("websocket_timeout", 9, False),
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
        "aliases": {},
        "headers": {},
        "redirects": {},
        "allow": [],
        "nginx": "",
        "basic_auth": None,
        "error_pages": {},
        "health_path": "/",
        "rate_limit": 0,
        "socket": "/srv/hello/live.sock",
        "certificate": "/etc/letsencrypt/live/hello/fullchain.pem",
        "certificate_key": "/etc/letsencrypt/live/hello/privkey.pem",
        # 0 is the release to come, while a rollout has started it and not yet switched to it
        "static_roots": ["/srv/hello/live/.static", *(f"/srv/hello/before/{place}/.static" for place in (0, 1, 2))],
        "timeout": 30,
        "websocket_timeout": 3600,
        "timeouts": {"dest": "/etc/nginx/live/hello.conf", "content": "proxy_read_timeout 30s;\nproxy_send_timeout 30s;\n"},
        "body_size": "10m",
        "path": "/",
        "below": [],
    }
    assert (own["certificate"], own["certificate_key"]) == ("/etc/nginx/certificates/own.pem", "/etc/nginx/certificates/own.key")


def test_no_acme_for_an_app_with_its_own_certificate() -> None:
    assert certificates([APP, OWN]) == [{"name": "hello", "domains": ["hello.example.com", "www.hello.example.com"]}]


def test_a_host_that_fetches_its_certificates_has_them_elsewhere() -> None:
    """certbot owns its directory, and may take the job over one day."""
    site, own = sites([APP, OWN], True)
    assert site["certificate"] == "/var/lib/plainstack/certificates/hello/fullchain.pem"
    assert own["certificate"] == "/etc/nginx/certificates/own.pem"


def test_balanced_sites() -> None:
    [site] = balanced_sites([{**APP, "balance": "cookie"}], {"hello": ["10.0.0.1", "10.0.0.2"]})
    assert site == {
        "name": "hello",
        "domains": ["hello.example.com", "www.hello.example.com"],
        "aliases": {},
        "headers": {},
        "redirects": {},
        "allow": [],
        "nginx": "",
        "basic_auth": None,
        "error_pages": {},
        "health_path": "/",
        "rate_limit": 0,
        "servers": ["10.0.0.1", "10.0.0.2"],
        "balance": "cookie",
        "certificate": "/etc/letsencrypt/live/hello/fullchain.pem",
        "certificate_key": "/etc/letsencrypt/live/hello/privkey.pem",
        "timeout": 30,
        "websocket_timeout": 3600,
        # The app server says 504 first
        "timeouts": {"dest": "/etc/nginx/live/hello.conf", "content": "proxy_read_timeout 35s;\nproxy_send_timeout 35s;\n"},
        "body_size": "10m",
        "path": "/",
        "below": [],
    }


def test_an_app_on_a_path_comes_with_the_site_of_its_domains() -> None:
    api = {**APP, "name": "api", "path": "/api", "domains": APP["domains"][::-1], "static": {"/api/static": "static"}, "timeout": 60}
    other = {**APP, "name": "other", "domains": ["other.example.com"]}
    site, alone = sites([api, APP, other])
    assert (site["name"], alone["name"], alone["below"]) == ("hello", "other", [])
    [below] = site["below"]
    assert (below["name"], below["path"], below["socket"], below["timeout"]) == ("api", "/api", "/srv/api/live.sock", 60)
    assert "certificate" not in below
    assert balanced_sites([api, APP], {"hello": ["10.0.0.2"], "api": ["10.0.0.1"]})[0]["below"][0]["servers"] == ["10.0.0.1"]
    assert [one["name"] for one in certificates([api, APP, other])] == ["hello", "other"]


def test_addresses() -> None:
    hosts = {"a": {"private_address": "10.0.0.1", "ansible_host": "203.0.113.1"}, "b": {"ansible_host": "203.0.113.2"}, "2001:db8::3": {}}
    assert addresses(hosts, hosts) == ["10.0.0.1", "203.0.113.2", "2001:db8::3"]


def test_a_name_is_no_address() -> None:
    with pytest.raises(WiringError, match=r"web1 has no IP address .* only 'web1.example.com'(?s:.*)'private_address' of the host 'web1'"):
        addresses(["web1"], {"web1": {"ansible_host": "web1.example.com"}})


def test_the_first_host_with_the_same_sites_obtains_the_certificates() -> None:
    other = {**APP, "domains": ["other.example.com"]}
    turned = {**APP, "domains": APP["domains"][::-1]}
    hosts: dict[str, Any] = {
        "a": {"apps": [APP, OWN], "private_address": "10.0.0.1"},
        "b": {"apps": [turned]},
        "c": {"apps": [other], "private_address": "10.0.0.3"},
        "d": {"apps": [other]},
    }
    assert issuers(list(hosts), hosts) == {
        "a": {"issuer": "a", "address": ""},
        "b": {"issuer": "a", "address": "10.0.0.1"},
        "c": {"issuer": "c", "address": ""},
        "d": {"issuer": "c", "address": "10.0.0.3"},
    }
    del hosts["c"]["private_address"]
    with pytest.raises(WiringError, match="c has no IP address"):
        issuers(list(hosts), hosts)


def test_nobody_obtains_what_is_there_already() -> None:
    hosts = {"a": {"apps": [OWN]}, "b": {"apps": [OWN]}}
    assert [found["issuer"] for found in issuers(list(hosts), hosts).values()] == ["a", "b"]


def test_an_alias_is_a_name_of_the_site_and_of_its_certificate() -> None:
    app = {**APP, "domains": ["example.com"], "aliases": ["www.example.com"], "headers": {"X-Frame-Options": ""}}
    [site] = sites([app])
    assert (site["domains"], site["aliases"], site["headers"]) == (
        ["example.com", "www.example.com"],
        {"www.example.com": "example.com"},
        {"X-Frame-Options": ""},
    )
    assert certificates([app]) == [{"name": "hello", "domains": ["example.com", "www.example.com"]}]


def test_a_worker_server() -> None:
    """It has the apps that work there, and nothing of their sites; an app server on which an app is not has nothing of that one's."""
    other = {**APP, "name": "other", "domains": ["other.example.com"], "packages": ["tree"]}
    plan: dict[str, Any] = {
        "event": "deploy",
        "servers": ["web1", "web2", "jobs1"],
        "workers": ["jobs1"],
        "web": {"hello": ["web1", "web2"], "own": ["web1"], "other": ["web2"]},
        "balancers": [],
        "addresses": {"lb1": "10.0.0.1"},
        "issuers": {"web1": {"issuer": "web1", "address": ""}, "web2": {"issuer": "web1", "address": "10.0.0.2"}},
    }
    apps = [{"build_packages": [], "packages": [], **app} for app in (APP, OWN, other)]
    worker = of_host("jobs1", apps, ["hello"], plan)
    nothing = {key: worker[key] for key in ("sites", "certificates", "others", "own_certificates", "balancers", "sharers")}
    assert (worker["serves"], worker["app_packages"], {*map(str, nothing.values())}) == (False, ["tree"], {"[]"})
    assert of_host("jobs1", apps, ["hello"], {**plan, "balancers": ["lb1"]})["balancers"] == []
    web = of_host("web2", apps, ["hello", "other"], plan)
    assert [site["name"] for site in web["sites"]] == ["hello", "other"]
    assert (web["serves"], [one["name"] for one in web["others"]], web["own_certificates"]) == (True, ["hello", "other"], [])
    balancer = of_host("lb1", apps, ["hello"], {**plan, "balancers": ["lb1"], "issuers": {}})
    assert (balancer["serves"], len(balancer["sites"]), len(balancer["own_certificates"])) == (True, 3, 1)
