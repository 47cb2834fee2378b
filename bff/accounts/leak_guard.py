"""The last line against leaks: a field in which a secret appears is emptied, whatever let it through.

The first line is the allow-list (`schemas.genauth`), where tokens have no field. This one is for a token inside an allowed field,
as in an avatar URL with ``?access_token=``. It knows nothing of accounts: any JSON-like value will do.

A secret is looked for by its first characters, so that one that was cut short is found too. In each of its forms they are filed
under the last of them. A text is looked through once, in steps; only where it has such characters is it compared with what is
filed under them. So the work grows with the secrets and with the text, and not with the one times the other.
"""

import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from typing import Any
from urllib.parse import quote, unquote

from bff.errors import UpstreamMalformed
from bff.genauth import SHORTEST_SECRET, credential_parameters, telling_part

MOST_SECRETS = 1_000
MOST_TEXT = 256 * 1024  # characters
_MOST_READINGS = 4 * MOST_TEXT  # with what is below escapes
_MOST_COMPARISONS = 100_000  # only secrets and texts made for it come near

# Windows of five characters at four neighbouring places: whatever place a text has them at, one is met in steps of four.
_WINDOW, _STEP = 5, 4
# A URL in a URL in a JSON text: as many layers as something may have wrapped a secret in.
_LAYERS = 4
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


# One form of a secret's beginning, how many characters of it come before the window that it is filed under, and whether it is
# base64.
_Needle = tuple[str, int, bool]


class LeakGuard:
    """Looks for ``secrets``, whole or cut short, as they are, percent-encoded, JSON-escaped or in base64, in layers too.

    Where a text has a parameter that is named like a credential, the text holds a secret, whatever the value is.
    More secrets, or more text to look through, than anybody's accounts come with is UpstreamMalformed.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        kept = {secret for secret in secrets if len(secret) >= SHORTEST_SECRET}
        if len(kept) > MOST_SECRETS:
            raise UpstreamMalformed(note=f"more than {MOST_SECRETS} secrets to look for")
        self._needles = _filed(set(map(telling_part, kept)))
        self._text_left = MOST_TEXT
        self._readings_left = _MOST_READINGS
        self._comparisons_left = _MOST_COMPARISONS

    def clean(self, value: Any, *, ours: Collection[str] = ()) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401 - any JSON-like value
        """The value with every text or number that holds a secret made None, and the paths of those fields.

        A path such as ``linkedAccounts[].avatarUrl`` has neither values nor indexes: it may be logged. A key that holds a
        secret is dropped with its value, and its path ends in ``*``. Keys in ``ours`` stay: a provider may send "identityTypes"
        for a token. If nothing is found, the value itself is returned.
        """
        emptied: dict[str, None] = {}
        cleaned = self._without_secrets(value, "", emptied, ours)
        return (cleaned, tuple(path.lstrip(".") for path in emptied)) if emptied else (value, ())

    def _without_secrets(self, value: Any, path: str, emptied: dict[str, None], ours: Collection[str]) -> Any:  # noqa: ANN401
        match value:
            case dict():
                kept = {}
                for key, item in value.items():
                    if key not in ours and self._holds_secret(str(key)):
                        emptied[f"{path}.*"] = None
                    else:
                        kept[key] = self._without_secrets(item, f"{path}.{key}", emptied, ours)
                return kept
            case list() | tuple():
                return type(value)(self._without_secrets(item, f"{path}[]", emptied, ours) for item in value)
            case bool() | None:
                return value
        if self._holds_secret(str(value)):
            emptied[path] = None
            return None
        return value

    def _holds_secret(self, text: str) -> bool:
        self._text_left -= len(text)
        if self._text_left < 0:
            raise UpstreamMalformed(note=f"more than {MOST_TEXT} characters to look through")
        return len(text) >= SHORTEST_SECRET and any(map(self._is_in, _readings(text)))

    def _is_in(self, reading: str) -> bool:
        self._readings_left -= len(reading)
        if self._readings_left < 0:
            raise UpstreamMalformed(note=f"more than {_MOST_READINGS} characters below escapes")
        if credential_parameters(reading):
            return True
        standard = _standard(reading)
        windows = [standard[at : at + _WINDOW] for at in range(0, len(standard), _STEP)]
        if self._needles.keys().isdisjoint(windows):  # nearly always
            return False
        return any(
            self._stands_at(number * _STEP, needle, reading, standard)
            for number, window in enumerate(windows)
            for needle in self._needles.get(window, ())
        )

    def _stands_at(self, at: int, needle: _Needle, reading: str, standard: str) -> bool:
        self._comparisons_left -= 1
        if self._comparisons_left < 0:
            raise UpstreamMalformed(note="too much that looks like a secret")
        form, before, base64 = needle
        return at >= before and (standard if base64 else reading).startswith(form, at - before)


def contains(answer: bytes, secret: str) -> bool:
    """Whether the secret, whole or cut short, appears in a finished answer, as it is or percent-encoded."""
    if len(secret) < SHORTEST_SECRET:
        return False
    part = telling_part(secret)
    # What percent-encoding leaves as it is was found already.
    return _bytes(part) in answer or (b"%" in answer and _bytes(quote(part, safe="", errors="surrogatepass")) in answer)


def _filed(parts: Iterable[str]) -> dict[str, list[_Needle]]:
    """The forms of the secrets' beginnings by each of their last windows: what they themselves begin with is often innocent."""
    needles: defaultdict[str, list[_Needle]] = defaultdict(list)
    for part in parts:
        for form, base64 in ((part, False), *((form, True) for form in _base64_of(part))):
            standard = _standard(form)
            for before in range(len(form) - _WINDOW - _STEP + 1, len(form) - _WINDOW + 1):
                needles[standard[before : before + _WINDOW]].append((form, before, base64))
    return needles


def _standard(text: str) -> str:
    """The text in the first of base64's two alphabets (RFC 4648)."""
    return text.replace("-", "+").replace("_", "/")


def _readings(text: str) -> set[str]:
    """The text, and what it is underneath up to four layers of percent-encoding and JSON escapes."""
    readings = layer = {text}
    if "%" not in text and "\\" not in text:
        return readings
    for _ in range(_LAYERS):
        layer = {reading for outer in layer for reading in (_unquoted(outer), _unescaped(outer))} - readings
        readings = readings | layer
    return readings


def _unquoted(text: str) -> str:
    return unquote(text) if "%" in text else text


def _unescaped(text: str) -> str:
    if "\\" not in text:
        return text
    plain = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _CONTROLS.get(found[2], found[2]), text)
    # JSON writes what lies beyond U+FFFF as two escapes; together they are one character again.
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def _base64_of(text: str) -> Iterator[str]:
    """What is common to every base64 text that holds the text, at each of the three places in a group of bytes."""
    for before in range(3):
        # A character stands for 6 bits: the first and the last ones may share theirs with a neighbour of the text.
        padded = b"\0" * before + _bytes(text)
        first, last = (before * 8 + 5) // 6, len(padded) * 8 // 6
        yield b64encode(padded).decode()[first:last]


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
