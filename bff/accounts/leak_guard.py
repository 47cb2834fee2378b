"""The last line against leaks: a field in which a secret appears is emptied, whatever let it through.

The first line is the allow-list (`schemas.genauth`), where tokens have no field. This one is for a token inside an allowed field,
as in an avatar URL with ``?access_token=``. It knows nothing of accounts: any JSON-like value will do.
"""

import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote

# Shorter ones are found in innocent text by chance.
_SHORTEST = 8
# A URL in a URL in a JSON text: as many layers as something may have wrapped a secret in.
_LAYERS = 3
_ESCAPE = re.compile(r"\\(?:u([0-9A-Fa-f]{4})|(.))", re.DOTALL)
_CONTROLS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class LeakGuard:
    """Looks for ``secrets`` as they are, percent-encoded, JSON-escaped or in base64, in layers too."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = {secret for secret in secrets if len(secret) >= _SHORTEST}

    def clean(self, value: Any, *, ours: Collection[str] = ()) -> tuple[Any, tuple[str, ...]]:  # noqa: ANN401 - any JSON-like value
        """The value with every text or number that holds a secret made None, and the paths of those fields.

        A path such as ``linkedAccounts[].avatarUrl`` has neither values nor indexes: it may be logged. A key that holds a
        secret is dropped with its value, and its path ends in ``*``. Keys in ``ours`` stay: a provider may send "identityTypes"
        for a token. If nothing is found, the value itself is returned.
        """
        if not self._secrets:
            return value, ()
        # Nearly always nothing is found. One search through all the text at once shows whether to look at each field.
        text = "\0".join(_texts(value))
        found = self._needles.found_in(text) if self._endings.found_in(text) else None
        if not found:
            return value, ()
        stopped: dict[str, None] = {}
        return _without(found, value, "", stopped, ours), tuple(stopped)

    def clears(self, json: str) -> bool:
        """True if a JSON text certainly holds no secret. False if it may: then `clean` has to look."""
        # Without escapes every value stands in it as it is.
        return "\\" not in json and not self._endings.found_in(json)

    @cached_property
    def _endings(self) -> "_Needles":
        return _endings(self._secrets)

    @cached_property
    def _needles(self) -> "_Needles":
        return _Needles(self._secrets, {needle for secret in self._secrets for needle in _base64_of(secret)})


def contains(answer: bytes, secret: str) -> bool:
    """Whether the secret appears in a finished answer, as it is or percent-encoded."""
    # Its beginning first: if that does not appear, neither does the whole.
    return len(secret) >= _SHORTEST and _shows(answer, secret[:_SHORTEST]) and _shows(answer, secret)


class _Needles:
    """Secrets to look for: ``plain`` ones in every reading of a text, ``base64`` ones in the standard alphabet."""

    def __init__(self, plain: Iterable[str], base64: Iterable[str]) -> None:
        self.plain = tuple(plain)
        self.base64 = tuple(base64)

    def found_in(self, text: str) -> "_Needles | None":
        """Those that the text holds, or None."""
        plain: set[str] = set()
        base64: set[str] = set()
        for reading in _readings(text):
            plain.update([needle for needle in self.plain if needle in reading])
            standard = reading.replace("-", "+").replace("_", "/")  # of the two alphabets of RFC 4648
            base64.update([needle for needle in self.base64 if needle in standard])
        return _Needles(plain, base64) if plain or base64 else None


def _endings(secrets: Iterable[str]) -> _Needles:
    """What every text that holds one of ``secrets`` holds too: their last characters. The first ones are often innocent words."""
    plain = [secret[-_SHORTEST:] for secret in secrets]
    last = [text.encode(errors="surrogatepass")[-_SHORTEST:] for text in plain]
    # Each at each of the three places in a group of bytes, all at once: twelve bytes become sixteen characters, ten its own.
    encoded = b64encode(b"".join([b"%b\0\0\0\0\0%b\0\0\0\0\0%b\0\0" % (eight, eight, eight) for eight in last])).decode()
    return _Needles(plain, [encoded[at : at + 10] for each in range(0, len(encoded), 48) for at in (each, each + 18, each + 35)])


def _texts(value: object) -> list[str]:
    """Every text and number in it, keys too, in any order."""
    texts: list[str] = []
    stack = [value]
    while stack:
        match stack.pop():
            case str() as text:
                texts.append(text)
            case dict() as members:
                texts.extend(map(str, members))
                stack.extend(members.values())
            case list() | tuple() as items:
                stack.extend(items)
            case int() | float() as number if not isinstance(number, bool):
                texts.append(str(number))
    return texts


def _without(needles: _Needles, value: Any, path: str, stopped: dict[str, None], ours: Collection[str]) -> Any:  # noqa: ANN401
    match value:
        case dict():
            kept = {}
            for key, item in value.items():
                if key not in ours and needles.found_in(str(key)):
                    stopped[f"{path}.*".lstrip(".")] = None
                else:
                    kept[key] = _without(needles, item, f"{path}.{key}".lstrip("."), stopped, ours)
            return kept
        case list() | tuple():
            return type(value)(_without(needles, item, f"{path}[]", stopped, ours) for item in value)
    if any(map(needles.found_in, _texts(value))):
        stopped[path] = None
        return None
    return value


def _readings(text: str) -> set[str]:
    """The text, and what it is underneath up to three layers of percent-encoding and JSON escapes."""
    readings = layer = {text}
    for _ in range(_LAYERS if "%" in text or "\\" in text else 0):
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


def _base64_of(secret: str) -> Iterator[str]:
    """What is common to every base64 text that holds the secret, at each of the three places in a group of bytes."""
    for before in range(3):
        # A character stands for 6 bits: the first and the last ones may share theirs with a neighbour of the secret.
        padded = b"\0" * before + _bytes(secret)
        first, last = (before * 8 + 5) // 6, len(padded) * 8 // 6
        yield b64encode(padded).decode()[first:last]


def _shows(body: bytes, secret: str) -> bool:
    if _bytes(secret) in body:
        return True
    # Percent-encoding leaves ASCII letters and digits as they are.
    return not (secret.isascii() and secret.isalnum()) and _bytes(quote(secret, safe="", errors="surrogatepass")) in body


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
