"""What Gunicorn imports: `wsgi:app`."""

import logging

from hello import create_app

# To stderr, which systemd carries to the journal; the journal adds the time.
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")

app = create_app()
