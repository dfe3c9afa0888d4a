"""What the roles get from the definition of an app, where it is more than the value of one key. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

# What a new release is made for besides code and environment; the rest is nginx's and takes effect with a reload
OF_THE_RELEASE = (
    "module",
    "python",
    "requirements",
    "static",
    "shared",
    "health_path",
    "start_timeout",
    "workers",
    "threads",
    "timeout",
    "max_requests",
    "memory_max",
    "preload",
)


def release_config(app: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The settings whose change needs a new release; the version of Plainstack too, whose units may differ.

    :param app: an app as `normalise` returns it.
    :param version: version of the collection.
    """
    return {**{key: app[key] for key in OF_THE_RELEASE}, "plainstack": version}


def site(app: Mapping[str, Any]) -> dict[str, Any]:
    """The site of an app, as the role nginx takes it."""
    name = app["name"]
    if app["certificate"]:
        certificate, key = f"/etc/nginx/certificates/{name}.pem", f"/etc/nginx/certificates/{name}.key"
    else:
        certificate, key = f"/etc/letsencrypt/live/{name}/fullchain.pem", f"/etc/letsencrypt/live/{name}/privkey.pem"
    return {
        "name": name,
        "domains": list(app["domains"]),
        "socket": f"/srv/{name}/live.sock",
        "certificate": certificate,
        "certificate_key": key,
        "static": list(app["static"]),
        # A page of the release before still gets its files: their names have a digest, or the live release's count
        "static_roots": [f"/srv/{name}/live/.static", *(f"/srv/{name}/before/{place}/.static" for place in range(1, app["keep_releases"] + 1))],
        "timeout": app["timeout"],
        "body_size": app["body_size"],
    }


def sites(apps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The sites of all apps."""
    return [site(app) for app in apps]


def certificates(apps: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The certificates that the role certbot is to obtain: of every app that has none of its own."""
    return [{"name": app["name"], "domains": list(app["domains"])} for app in apps if not app["certificate"]]
