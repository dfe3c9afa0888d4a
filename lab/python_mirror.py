#!/usr/bin/env python3
"""Make a mirror of uv's Python builds with one build in it: the interpreter that runs this script.

    lab/python_mirror.py DIRECTORY URL

DIRECTORY gets the archive and downloads.json, whose addresses begin with URL (see UV_PYTHON_DOWNLOADS_JSON_URL). It stands
in for the real builds where they cannot be reached, so that the path through uv is tested all the same.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
import tarfile
from pathlib import Path

LEFT_OUT = ("test", "site-packages", "dist-packages", "__pycache__", "idlelib", "turtledemo", "tkinter", "ensurepip")


def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Leave out what a build does without."""
    return None if any(part in LEFT_OUT or part.startswith("config-") for part in Path(entry.name).parts) else entry


def movable(binary: bytes, prefix: Path) -> bytes:
    """Let the interpreter look for its library beside itself, as uv's builds do, not where it was compiled to."""
    fixed = f"{prefix}/lib\0".encode()
    return binary.replace(fixed, b"$ORIGIN/../lib\0".ljust(len(fixed), b"\0"))


def main() -> None:
    """Write the archive and its description."""
    directory, url = Path(sys.argv[1]), sys.argv[2].rstrip("/")
    directory.mkdir(parents=True, exist_ok=True)
    version = platform.python_version()
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    prefix = Path(sys.base_prefix)
    archive = directory / f"cpython-{version}.tar.gz"
    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        binary = tarfile.TarInfo(f"python/bin/{name}")
        content = movable((prefix / "bin" / name).resolve().read_bytes(), prefix)
        binary.size, binary.mode = len(content), 0o755
        tar.addfile(binary, io.BytesIO(content))
        for library in (prefix / "lib").glob(f"lib{name}.so*"):
            tar.add(library, f"python/lib/{library.name}")
        tar.add(prefix / "lib" / name, f"python/lib/{name}", filter=wanted)
    build = {
        "name": "cpython",
        "arch": {"family": platform.machine(), "variant": None},
        "os": "linux",
        "libc": "gnu",
        **dict(zip(("major", "minor", "patch"), sys.version_info[:3], strict=True)),
        "prerelease": "",
        "url": f"{url}/{archive.name}",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": "20261122",
    }
    key = f"cpython-{version}-linux-{platform.machine()}-gnu"
    (directory / "downloads.json").write_text(json.dumps({key: build}, indent=2) + "\n", encoding="utf-8")
    print(version)


if __name__ == "__main__":
    main()
