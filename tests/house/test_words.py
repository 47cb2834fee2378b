"""One word, one meaning, and the field's own: these words of ours had a better one, and are not to come back."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written by `make bench` from the texts in bench/documents, which are looked through.
GENERATED = {"docs/performance.md", "docs/scaling.md"}
READABLE = {".py", ".md", ".lua", ".js", ".html", ".txt"}

# What they meant, and the words for it. A name is looked for as it was written; an English word that means something else
# elsewhere is not in here.
FORMER = {
    "admission control, fair semaphore, unverified, released()": (
        r"\b[Gg]ates?\b", r"\bnewcomers\b", r"\b[Ee]rrands?\b", r"outside_the_gate", r"keeps? company",
    ),
    "response cache": (
        r"\b[Mm]icro[-_ ]?cach(?:e|es|ed)\b", r"[Mm]icroCache", r"\bExpress\b", r"\bexpress\b(?!ion)", r"web[./]repeats",
    ),
    "one implementation": (r"\bunless_known\b", r"\bstraight=", r"\bstraight\b(?! line)"),
    "call policy, CircuitOpen, BulkheadFull": (r"\b[Ll]anes?\b", r"\bLeftAlone\b", r"\bNoPlace\b"),
    "Response, ProtocolError, ResponseTooLarge, CallContext": (
        r"\bGarbled\b", r"\bTooMuch\b", r"\bExchange\b", r"\blent\b",
    ),
    "Freshness, CachedResponse, Representation, represent()": (r"\b[Kk]eepsakes?\b", r"\bpresenting\b"),
    "redact, raise_if_open, raise_if_refused": (r"\bheed(?:s|ed)?\b", r"(?<!\.)\btell\("),
    "Caller, Call, TransientError, ConnectError, ConnectionClosed": (
        r"\bAsker\b", r"\bQuestion\b", r"\bMomentary\b", r"\bUnreached\b", r"\bUnanswered\b",
    ),
    "TokenStatus, InvalidationMarker, Lookup, get/put/put_refusal/invalidate": (
        r"\bWord\b", r"\bRecollection\b", r"\b[Rr]ecall(?:s|ed)?\b", r"cache[./]remembered",
    ),
    "fallback cache, snapshot, codec": (
        r"\blastresort\b", r"\b[Ll]ast resort\b", r"\b[Ss]hel(?:f|ves|ved)\b", r"(?<!\.)\b[Ss]eal(?:s|ed|ing)?\b", r"\b\w+Seal\b",
    ),
    "lock, attempt, owner token, holder": (r"\b[Ll]eases?\b", r"\b[Rr]eceipts?\b"),
    "invalidation bus, on_invalidate, on_gap, connected": (r"\b[Aa]nnouncements?\b", r"\b[Aa]nnounce[sd]?\b", r"\bheard\b"),
    "JWKS cache, fetcher, snapshot": (r"\bkeyset\b", r"\bkeysource\b", r"\bkeyshelf\b"),
    "CacheUnavailable": (r"\bStoreAway\b", r"\bway_to\b"),
    "LRU cache": (r"\b[Mm]emos?\b",),
    "security headers, echoes_credential": (r"\bhygiene\b", r"web[./]queries", r"\bpresented\("),
    "InvalidTokenRequest, UpstreamFailure": (r"\bTokenMissent\b", r"\bGenAuthTrouble\b"),
    "supervisor, child processes, dev server": (r"\b[Gg]uardians?\b", r"\b[Ll]ifelines?\b", r"\bdevrun\b"),
    "personas, application, faults": (r"sandbox[./]cast\b", r"\bRealm\b", r"\brealm\b(?!=)", r"\bTrouble\b"),
    "recorder": (r"\b\w*Observer\b", r"\bobserving\b"),
    "openapi, remedies, metrics": (r"\bdocumenting\b", r"\badvice\b", r"\bmetering\b"),
    "one round trip is redis-py's": (r"\broundtrip\b",),
    "load and dump": (r"\bSeldom\b",),
}  # fmt: skip
# Figures belong into docs/performance.md, and metaphors nowhere: what it is can be said.
PLAIN = (r"µs", r"\b[Pp]rices?\b", r"\btold\b", r"\b[Dd]oors?\b(?! \(`)", r"\bremember\(")


def texts():
    places = [ROOT / "README.md", ROOT / "app.py"]
    for folder in ("bff", "schemas", "bench", "docs"):
        places += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in READABLE]
    for path in places:
        name = path.relative_to(ROOT).as_posix()
        if name not in GENERATED and "node_modules" not in path.parts and path.name != "requirements.txt":
            yield name, path.read_text()


def found(patterns, within=""):
    pattern = re.compile("|".join(patterns))
    return [
        f"{name}:{number}: {match[0]}"
        for name, text in texts()
        if name.startswith(within)
        for number, line in enumerate(text.splitlines(), 1)
        for match in pattern.finditer(line)
    ]


@pytest.mark.parametrize("better", FORMER)
def test_a_former_word_is_gone(better):
    assert found(FORMER[better]) == []


@pytest.mark.parametrize("room", ["app.py", "bff", "schemas"])
def test_the_code_says_what_it_is(room):
    assert found(PLAIN, room) == []
