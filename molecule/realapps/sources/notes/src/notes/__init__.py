"""A Flask app that a factory makes, with its database in the instance folder."""

import os
import platform

from flask import Flask, request
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

db = SQLAlchemy()


class Note(db.Model):
    """What is to be remembered."""

    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.Text, nullable=False)


def create_app() -> Flask:
    """The app; its database is named relative to the instance folder."""
    app = Flask(__name__)
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///notes.sqlite3"
    db.init_app(app)
    Migrate(app, db)

    @app.get("/healthz")
    def healthz() -> str:
        return f"{db.session.query(Note).count()} notes"

    @app.route("/", methods=["GET", "POST"])
    def notes() -> dict[str, object]:
        if request.method == "POST":
            db.session.add(Note(text=request.get_data(as_text=True)))
            db.session.commit()
        found = [note.text for note in db.session.query(Note)]
        return {"notes": found, "python": platform.python_version(), "title": os.environ["TITLE"], "release": os.environ["PLAINSTACK_RELEASE"]}

    return app
