"""The framework's floor: a Flask route with constant bytes, on the same server as ours."""

from flask import Flask, Response
from floor import BODY

app = Flask(__name__)


@app.get("/me/linked-accounts")
def linked_accounts() -> Response:
    """The same to everybody."""
    return Response(BODY, content_type="application/json")
