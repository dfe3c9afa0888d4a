"""A page with comments from another origin."""

import os

from flask import Flask

app = Flask(__name__)


@app.get("/")
def article() -> str:
    """An article."""
    comments = os.environ["COMMENTS"]
    return f'''<!doctype html>
<title>An article</title>
<p>What do you think?
<section id="isso-thread"></section>
<script data-isso="{comments}/" src="{comments}/js/embed.min.js"></script>
'''
