"""One parser under atheris, which looks at what of our code each input reaches.

``python -m tests.security.guided wire -runs=1000``. An input on which something goes wrong ends the process; in the end libFuzzer
says how many it ran.
"""

import json
import sys

import atheris

with atheris.instrument_imports(include=["bff", "schemas"]):
    from bff.accounts.linking import link
    from bff.accounts.providers import Catalogue
    from bff.accounts.rendering import render
    from bff.auth.access_tokens import unverified_claims
    from bff.auth.jwk import usable_keys
    from bff.cache.codec import EncryptedCodec, PlainCodec
    from bff.cache.entries import Entry, Failure, InvalidationMarker, Lifetimes, SecurityEntry, TokenStatus
    from bff.cache.values import Values
    from bff.errors import BffError
    from bff.genauth.messages import Response
    from bff.genauth.oidc import read_discovery, read_introspection, read_key_set
    from bff.genauth.protocol import read_ext_idps, read_identities
    from bff.observability import Recorder

KEY = "la:6:{AAAAAAAAAAAAAAAA}:accounts"
STATUSES = (200, 200, 200, 201, 302, 401, 403, 404, 429, 500, 503, 999)
SEALED = EncryptedCodec([("k1", b"k" * 32)])


def wire(data):
    """Any status and body of get-identities, all the way to what is kept and shown."""
    status = STATUSES[data[0] % len(STATUSES)] if data else 204
    answer = Response(status, {"retry-after": data[1:5].decode("latin-1")}, data[1:])
    for read in (read_ext_idps, read_discovery, read_introspection, read_key_set):
        quietly(read, answer)
    found = quietly(read_identities, answer)
    if found:
        rendered, _ = render(link(found.rows), Catalogue(), found.secrets)
        kept = [*texts(json.loads(rendered.json("zh", identities=True)))]
        assert not [secret for secret in found.secrets for text in kept if secret in text]


def texts(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for each in value.values() if isinstance(value, dict) else value:
            yield from texts(each)


def stored(data):
    """Any bytes under a key of ours: nothing, or what can be read."""
    for codec in (PlainCodec(), SEALED):
        values = Values(codec, Recorder(), Lifetimes(60, 3600, 60, 8))
        for value in (data, KEY.encode() + b" " + data, KEY.encode() + b"~" + data, b"k1 " + data):
            assert codec.decode(KEY, value) is None or codec is not SEALED
            for kind in (Entry, SecurityEntry, TokenStatus, InvalidationMarker, Failure):
                values.decode(KEY, value, kind, 1_800_000_000.0)


def token(data):
    """Any text as a token: claims, or one of our errors that does not repeat it."""
    text = data.decode("latin-1")
    for each in (text, f"eyJhbGciOiJSUzI1NiJ9.{text}.AAAA"):
        quietly(unverified_claims, each, "app", 1_700_000_000.0)


def keys(data):
    """Any JSON as a key set."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return
    usable_keys(document)


def quietly(read, *arguments):
    try:
        return read(*arguments)
    except BffError:
        return None


if __name__ == "__main__":
    target = {"wire": wire, "stored": stored, "token": token, "keys": keys}[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
