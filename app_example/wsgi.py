"""What Gunicorn imports: `wsgi:app`."""

import logging

from flask import has_request_context, request

from hello import create_app


class RequestId(logging.Filter):
    """Each line has the id of its request, which the answer and nginx's log have, too."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add it; nothing is left out."""
        record.request_id = request.headers.get("X-Request-ID", "-") if has_request_context() else "-"
        return True


# To stderr, which systemd carries to the journal; the journal adds the time.
handler = logging.StreamHandler()
handler.addFilter(RequestId())
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s [%(request_id)s]: %(message)s", handlers=[handler])

app = create_app()
