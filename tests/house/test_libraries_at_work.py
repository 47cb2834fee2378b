"""The libraries do the work that they are here for: their own entry points are called while the application answers.

Each is counted by a wrapper around the library's function; everything below it is real, a GenAuth on a port and a Valkey.
"""

import functools
import threading
from collections import Counter

import flask
import flask_caching
import marshmallow
import pytest
import requests

# The functions by which a library is known, and the name that they are counted under.
ENTRY_POINTS = {
    "flask.Flask.full_dispatch_request": (flask.Flask, "full_dispatch_request"),
    "flask_caching.Cache.get_many": (flask_caching.Cache, "get_many"),
    "flask_caching.Cache.set_many": (flask_caching.Cache, "set_many"),
    "marshmallow.Schema.dump": (marshmallow.Schema, "dump"),
    "requests.Session.send": (requests.Session, "send"),
    "marshmallow.Schema.load": (marshmallow.Schema, "load"),
}
IDENTITIES = "/api/v3/get-identities"


@pytest.fixture
def counted(monkeypatch):
    """How often each entry point was called, by its name; ``counted.clear()`` begins anew."""
    calls = Counter()

    def count(name, function):
        @functools.wraps(function)
        def wrapper(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return wrapper

    for name, (kind, attribute) in ENTRY_POINTS.items():
        monkeypatch.setattr(kind, attribute, count(name, getattr(kind, attribute)))
    return calls


@pytest.fixture
def ask(client, sign_in, genauth, counted):
    """Asks for a person's accounts, always with the same token; the counts begin with the question."""
    headers = functools.cache(sign_in)

    def answered(person):
        counted.clear()
        genauth.forget_calls()
        response = client.get("/me/linked-accounts", headers=headers(person))
        assert response.status_code == 200
        assert response.json["linkedAccounts"]
        return response

    answered("omar")  # fetches discovery, the keys and the list of providers
    for thread in threading.enumerate():
        if thread.name in {"providers", "key-set"}:
            thread.join(10)
    return answered


def test_a_miss_passes_through_every_library(ask, counted, genauth):
    response = ask("mei")

    assert "fwd=miss" in response.headers["Cache-Status"]
    assert genauth.calls() == genauth.calls(IDENTITIES) == 1
    assert counted["flask.Flask.full_dispatch_request"] == 1
    assert counted["requests.Session.send"] == 1
    assert counted["marshmallow.Schema.load"] >= 1  # and once for each profile in it
    assert counted["marshmallow.Schema.dump"] >= 1
    assert counted["flask_caching.Cache.get_many"] >= 1
    assert counted["flask_caching.Cache.set_many"] >= 1


def test_a_hit_is_one_look_into_the_cache(ask, counted, genauth):
    response = ask("omar")

    assert "hit" in response.headers["Cache-Status"]
    assert genauth.calls() == 0
    assert counted["flask.Flask.full_dispatch_request"] == 1
    assert counted["flask_caching.Cache.get_many"] == 1
    assert counted["flask_caching.Cache.set_many"] == 0
    assert counted["requests.Session.send"] == counted["marshmallow.Schema.load"] == 0  # what is stored is what is sent
