"""A place of the web goes from one app to another one only where that is meant, and where the other one is there."""

from typing import Any

import pytest
from ansible_collections.plainstack.web.plugins.module_utils.host.places import taken

HAD = {"a.test": "old", "www.a.test": "old", "a.test/api": "api", "b.test": "other"}
RENAMED = {"a.test": "new", "www.a.test": "new", "a.test/api": "api", "b.test": "other"}


@pytest.mark.parametrize(
    ("wanted", "options"),
    [
        (HAD, {}),
        ({}, {}),
        ({**HAD, "c.test": "new"}, {}),
        (RENAMED, {"live": ["new", "old", "api", "other"]}),
        ({**HAD, "a.test": "other", "b.test": "old"}, {}),
        (RENAMED, {"live": ["api", "other"]}),
        (RENAMED, {"replaced": ["old"]}),
    ],
    ids=["nothing changes", "an app is removed", "another app", "it has been live", "two apps swap", "the old one is not live", "it is meant"],
)
def test_that_is_all_right(wanted: dict[str, str], options: dict[str, Any]) -> None:
    assert taken(**{"wanted": wanted, "had": HAD, "live": ["old", "api", "other"], "deployed": ["new"], "replaced": [], **options}) == []


def test_a_new_name_is_asked_back() -> None:
    [said] = taken(RENAMED, HAD, ["old", "api"], ["new"], [])
    for words in ("a.test, www.a.test is served by the app 'old'", "'new', which is to have it, has never been live", "/srv/old/shared", "-e replace=old."):
        assert words in said


def test_it_must_be_deployed_in_the_same_run() -> None:
    """nginx's configuration is one for all apps: with -e app= it would route to what is not there."""
    for replaced in ([], ["old"]):
        [said] = taken(RENAMED, HAD, ["old", "api"], ["other"], replaced)
        assert "-e replace=old, and without -e app, which leaves it out" in said


def test_each_app_on_a_path_too() -> None:
    found = taken({"a.test": "new", "a.test/api": "api2"}, HAD, ["old", "api"], ["new", "api2"], ["old"])
    assert [("a.test/api is served by the app 'api'" in said) for said in found] == [True]
