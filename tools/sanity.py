#!/usr/bin/env python3
"""Check the collection as `ansible-galaxy collection build` makes it: `ansible-test sanity`, the lint of its documentation,
and what Galaxy checks of a collection that it is given.

ansible-test makes an environment for each test, and takes what that needs from the network. Here all of it is in .venv, in the versions of
requirements/dev.txt, so the tests run there.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
COLLECTION = Path("ansible_collections/plainstack/web")
# pylint: ruff looks at the style, and its own rules want a module's run_command where no module is. The others: there is no PowerShell and no shell script.
LEFT_OUT = ("pylint", "pslint", "shellcheck")


def sanity(arguments: list[str]) -> None:
    """`ansible-test sanity` in the current directory, with this interpreter for each test."""
    version = ".".join(platform.python_version_tuple()[:2])

    from ansible_test._internal import main as ansible_test
    from ansible_test._internal.commands import sanity as commands
    from ansible_test._internal.host_configs import VirtualPythonConfig

    def here(*_args: Any, **_options: Any) -> VirtualPythonConfig:
        return VirtualPythonConfig(version=version, path=sys.executable)

    def fast(*_args: Any) -> bool:
        """Whether it has libyaml."""
        return bool(yaml.__with_libyaml__)

    commands.create_sanity_virtualenv = here
    commands.check_sanity_virtualenv_yaml = fast
    ansible_test(["ansible-test", "sanity", f"--python={version}", *arguments])


def installed(directory: Path) -> Path:
    """The built collection in a tree of its own."""
    (directory / "ansible.cfg").touch()  # nothing of the checkout's settings
    settings = {**os.environ, "ANSIBLE_CONFIG": str(directory / "ansible.cfg"), "ANSIBLE_COLLECTIONS_PATH": str(directory)}
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    subprocess.run([*galaxy, "build", "--output-path", str(directory)], cwd=ROOT, env=settings, check=True)
    [tarball] = directory.glob("*.tar.gz")
    subprocess.run([*galaxy, "install", "--offline", "--no-deps", "--collections-path", str(directory), str(tarball)], cwd=directory, env=settings, check=True)
    return directory / COLLECTION


def main() -> int:
    """Build, install, check; 1 when a check finds something."""
    if sys.argv[1:2] == ["sanity"]:
        sanity(sys.argv[2:])
        return 0
    with tempfile.TemporaryDirectory() as directory:
        tree = installed(Path(directory))
        tests = [sys.executable, __file__, "sanity", *(f"--skip-test={name}" for name in LEFT_OUT), *sys.argv[1:]]
        references = ["--validate-collection-refs=dependent", "--disallow-unknown-collection-refs"]
        docs = [str(BIN / "antsibull-docs"), "lint-collection-docs", "--plugin-docs", *references, str(tree)]
        galaxy = [sys.executable, "-m", "galaxy_importer.main", str(next(Path(directory).glob("*.tar.gz")))]
        settings = {**os.environ, "GALAXY_IMPORTER_RUN_ANSIBLE_LINT": "false"}  # the checkout's is a stage of its own
        codes = [subprocess.run(command, cwd=tree, env=settings, check=False).returncode for command in (tests, docs, galaxy)]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
