"""What scale.yml takes over from another server: as strictly checked as the inventory, because it is rendered into units of all the others."""

import copy
from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.controller.adopt import AdoptError, adopt
from ansible_collections.plainstack.web.plugins.module_utils.controller.definition import normalise
from ansible_collections.plainstack.web.plugins.module_utils.controller.wiring import release_config
from ansible_collections.plainstack.web.plugins.module_utils.environment import render

SECRET = "swordfish"
ID = "20260101T000000Z-deadbeef"
[APP] = normalise(
    [{"name": "hello", "source": ".", "module": "wsgi:app", "domains": ["hello.example.com"], "requirements": "requirements.txt", "workers": 3}],
    "/nowhere",
    sources=False,
)


def live(**changes: Any) -> dict[str, Any]:
    """What is fetched from a server; a change of `story.x` or `config.x` is one of release.json."""
    story: dict[str, Any] = {
        "digest": "a" * 64,
        "config": copy.deepcopy(release_config(APP, "0.1.0")),
        "revision": "abc",
        "dirty": False,
        "went_live": "2026",
        "sequence": 3,
    }
    found: dict[str, Any] = {"id": ID, "story": story, "environment": render({"TOKEN": SECRET}), "path": "/tmp/x.tar.gz"}
    for key, value in changes.items():
        place, _, name = key.partition("__")
        changed: dict[str, Any] = {"story": story, "config": story["config"]}[place] if name else found
        changed[name or key] = value
    return found


def test_adopt() -> None:
    """As it was deployed, whatever the inventory says now."""
    app, archive = adopt({**APP, "timeout": 99, "env": {"A": "1"}}, "web1", live())
    assert (app["timeout"], app["environment"], app["config"]) == (30, {"TOKEN": SECRET}, release_config(APP, "0.1.0"))
    assert archive == {"path": "/tmp/x.tar.gz", "id": ID, "digest": "a" * 64, "story": {"revision": "abc", "dirty": False}}


def test_a_release_of_an_older_version_lacks_new_settings() -> None:
    changed = live()
    del changed["story"]["config"]["max_requests"]
    assert adopt(APP, "web1", changed)[0]["max_requests"] == 0


@pytest.mark.parametrize(
    ("changes", "file", "word"),
    [
        ({"config__memory_max": "1G\nExecStartPre=+/bin/sh -c evil"}, "release.json", "'memory_max'"),
        ({"config__module": "wsgi:app\n"}, "release.json", "'module'"),
        ({"config__health_path": "/\r\nHost: x"}, "release.json", "'health_path'"),
        ({"config__timeout": "30; evil"}, "release.json", "'timeout' must be a whole number"),
        ({"config__timeout": None}, "release.json", "'timeout' has no value"),
        ({"config__workers": 10**9}, "release.json", "'workers' is"),
        ({"config__shared": ["../../etc"]}, "release.json", "'../../etc' in 'shared'"),
        ({"config__static": {"/x": "/etc"}}, "release.json", "'/etc' in 'static'"),
        ({"config__python": "3.13 --evil"}, "release.json", "'python' is"),
        ({"config__requirements": "../../../etc/shadow"}, "release.json", "the requirements '../../../etc/shadow' are not a file in the source"),
        ({"config__after_live": "evil"}, "release.json", "unknown setting 'after_live'"),
        ({"config__plainstack": "1\n2"}, "release.json", "'plainstack' is no version"),
        ({"story__config": None}, "release.json", "no settings"),
        ({"story__digest": "../../x"}, "release.json", "no digest"),
        ({"story__revision": "\x1b]0;evil"}, "release.json", "'revision' is no line of text"),
        ({"environment": "TOKEN=swordfish\n"}, "environment", "not as Plainstack writes it"),
        ({"environment": render({"PLAINSTACK_RELEASE": SECRET})}, "environment", "PLAINSTACK_RELEASE"),
    ],
)
def test_what_no_deploy_writes_is_refused(changes: dict[str, Any], file: str, word: str) -> None:
    directory = "/etc/plainstack" if file == "environment" else "/srv"
    with pytest.raises(AdoptError) as error:
        adopt(APP, "web1", live(**changes))
    message = str(error.value)
    assert message.startswith(f"{directory}/hello/")
    assert f"{ID}/{file} on web1 is not as a deploy has written it" in message
    assert word in message
    assert "Next: " in message
    assert SECRET not in message
