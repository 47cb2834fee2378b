"""What can be used as a setting and is hardly meant: its name and a hint, for an operator to read at the start. No value."""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any

from bff.setting_addresses import is_readable_on_the_way

_SHORTEST_SECRET = 16
_LONG_ACCEPTANCE_SECONDS = 600
# What begins like this is meant for us, whatever it is. Programs beside us use REDIS_, LOG_ and SESSION_ too.
_OUR_PREFIXES = (
    *("GENAUTH_", "AUTHING_", "TOKEN_", "CACHE_", "LOCAL_CACHE", "UPSTREAM_", "REQUEST_DEADLINE", "SESSION_COOKIE", "CORS_"),
    *("WEBHOOK_", "METRICS_", "RATE_LIMIT", "TRUST_PROX", "TRUSTED_PROX", "ALLOWED_", "KEEPALIVE_", "DRAIN_", "GRANIAN_"),
    *("UNLINK_", "SIGN_IN_METHODS", "RETURN_TO_", "ID_TOKEN_", "STEP_UP_", "CHANGE_DEADLINE", "CHANGE_RATE_LIMIT", "LOG_USER_"),
)
# Kubernetes puts the address of each service into the environment, and a service may be called cache or metrics.
_OF_A_CLUSTER = re.compile(r".+_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_[A-Z]+)?)?)")


def warnings_about(values: Mapping[str, Any], environ: Mapping[str, str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each variable's name with a hint. ``values`` are the settings by field, ``known`` the variables that are read."""
    yield from _careless(values, environ)
    for name in known:
        # Of a shell's env file; whoever else reads the file takes it for a part of the value.
        if re.search(r"\s#", environ.get(name, "").strip()):
            yield name, "has a # after a blank: what may be meant as a comment is part of the value"
    yield from _unknown(environ, known)


def _careless(values: Mapping[str, Any], environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    if values["token_accepted_seconds"] > _LONG_ACCEPTANCE_SECONDS:
        yield "TOKEN_ACCEPTED_SECONDS", "a token that GenAuth has revoked keeps working here for more than ten minutes"
    if is_readable_on_the_way(values["redis_url"]):
        yield "REDIS_URL", "what is stored, and the password, go to another machine unencrypted; rediss encrypts them"
    # A passphrase is no longer to be seen in the key that was derived from it.
    passphrases = [part.strip().encode() for part in environ.get("CACHE_SECRET", "").split(",") if ":" not in part]
    if any(map(_is_a_pattern, [*passphrases, *(key for _, key in values["cache_secret"])])):
        yield "CACHE_SECRET", "repeats itself or counts, so it can be guessed; openssl rand -base64 32 makes a key"
    if (name := values["session_cookie_name"]) and not name.startswith("__Host-"):
        yield "SESSION_COOKIE_NAME", "does not begin with __Host-, so a page of a sibling domain or over http can set this cookie"
    secret = (values["metrics_token"] or "").encode()
    if secret and (len(secret) < _SHORTEST_SECRET or _is_a_pattern(secret)):
        yield "METRICS_TOKEN", f"has fewer than {_SHORTEST_SECRET} characters, repeats itself or counts, so it can be guessed"
    if any(len(secret) < _SHORTEST_SECRET or _is_a_pattern(secret.encode()) for secret in values["webhook_secret"]):
        yield "WEBHOOK_SECRET", f"has fewer than {_SHORTEST_SECRET} characters, repeats itself or counts, so it can be guessed"
    if values["rate_limit"] is None:
        yield "RATE_LIMIT", "is off: how many bad tokens one address may send is not limited either"


def _is_a_pattern(secret: bytes) -> bool:
    """Whether it repeats itself, as ``changemechangeme`` does, or counts, as ``0123456789abcdef`` does."""
    repeats = any(secret[step:] == secret[:-step] for step in range(1, len(secret) // 2 + 1))
    return repeats or 0 < len({after - before for before, after in pairwise(secret)}) <= 3


def _unknown(environ: Mapping[str, str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    for name in sorted(environ):
        if name in known or _OF_A_CLUSTER.fullmatch(name):
            continue
        if near := next((each for each in known if _is_near(name.strip().upper(), each)), None):
            yield name, f"is read by nothing; did you mean {near}?"
        elif name.startswith(_OUR_PREFIXES):
            yield name, "is read by nothing; docs/configuration.md has the names"


def _is_near(name: str, ours: str) -> bool:
    """Whether a name is ours with a slip of the pen, or with the words of ours, but for some left out or one put in."""
    name = re.sub("^AUTHING_", "GENAUTH_", name)  # what GenAuth was called
    if _is_within(name, ours, min(2, len(ours) // 4)):  # short names are near to everything
        return True
    words, our_words = name.split("_"), ours.split("_")
    if len(words) > len(our_words):
        # What has a word in front, such as OTEL_LOG_LEVEL, is another program's.
        return len(words) == len(our_words) + 1 > 2 and words[0] == our_words[0] and {*words} > {*our_words}
    return len({*words}) > 1 and {*words} <= {*our_words}


def _is_within(one: str, other: str, edits: int) -> bool:
    """Whether so many characters put in, taken out or replaced make the one text the other (Levenshtein's distance)."""
    if abs(len(one) - len(other)) > edits:
        return False
    same = next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
    one, other = one[same:], other[same:]
    if not (one and other and edits):
        return max(len(one), len(other)) <= edits
    return any(_is_within(a, b, edits - 1) for a, b in ((one[1:], other), (one, other[1:]), (one[1:], other[1:])))
