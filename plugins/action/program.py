"""Put a program of the collection on a host: one file with all modules that it needs, the same bytes for the same code."""

from __future__ import annotations

import io
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from ansible import constants as C  # type: ignore[attr-defined]
from ansible.plugins.action import ActionBase

MODULES = Path(__file__).parents[1] / "module_utils"
PACKAGE = ("ansible_collections", "plainstack", "web", "plugins", "module_utils")
MAIN = """import sys

from {package}.host.{name} import main

sys.exit(main(sys.argv[1:]))
"""
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first time that a zip file can have


def archive(name: str) -> bytes:
    """The program as Python runs it: a zip file.

    :param name: of the module in module_utils/host whose `main` it runs.
    """
    files = {f"{'/'.join(PACKAGE[: depth + 1])}/__init__.py": "" for depth in range(len(PACKAGE))}
    for directory in ("", "host/"):
        files.setdefault(f"{'/'.join(PACKAGE)}/{directory}__init__.py", "")
        for module in (MODULES / directory).glob("*.py"):
            files[f"{'/'.join(PACKAGE)}/{directory}{module.name}"] = module.read_text(encoding="utf-8")
    files["__main__.py"] = MAIN.format(package=".".join(PACKAGE), name=name)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as found:
        for path, text in sorted(files.items()):
            found.writestr(zipfile.ZipInfo(path, EPOCH), text)
    return stream.getvalue()


class ActionModule(ActionBase):
    """Makes the file on the controller, and has it copied."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What the copy says."""
        super().run(tmp, task_vars)
        handle, path = tempfile.mkstemp(dir=C.DEFAULT_LOCAL_TMP, suffix=".pyz")
        with os.fdopen(handle, "wb") as stream:
            stream.write(archive(self._task.args["name"]))
        task = self._task.copy()
        task.args = {"src": path, "dest": self._task.args["dest"], "owner": "root", "group": "root", "mode": "0755"}
        copy = self._shared_loader_obj.action_loader.get(
            "ansible.builtin.copy",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        )
        result: dict[str, Any] = copy.run(task_vars=task_vars)
        result.pop("diff", None)
        return result
