"""A query that cannot be read is the caller's mistake, on whatever route. What a query may say is each route's own."""

from flask import Flask, request

from bff.errors import InvalidRequest


def refuse_unreadable_queries(app: Flask) -> None:
    """Answer 400 to a query that is no UTF-8: werkzeug decodes it on first use, strictly, which would be a defect of ours."""
    app.before_request(_read)


def _read() -> None:
    try:
        request.query_string.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The query is not UTF-8: percent-encode it.", note="query") from None
