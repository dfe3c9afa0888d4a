"""Every test has an app of its own with an empty shared directory."""

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from hello import create_app


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"PLAINSTACK_RELEASE": "20260102T030405-abcdef", "PLAINSTACK_SHARED": str(tmp_path)}


@pytest.fixture
def app(environ: dict[str, str]) -> Flask:
    return create_app(environ)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()
