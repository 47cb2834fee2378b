"""What GenAuth may say of one person, and a caller in a request, that is most work for its size.

The leak guard looks for every string that came as a token in every field that is shown. An answer may have 1 MiB.
"""

import random
import string
from typing import Any

_LETTERS = string.ascii_letters + string.digits
_STRINGS = 45_000
_RECORDS = 200
# With the shortest strings that count as secrets, there are the most of them.
_SHORTEST = 8


def shapes() -> dict[str, list[dict[str, Any]]]:
    """The records of get-identities, by the name of the shape; the same in every process."""
    chance = random.Random(1)
    many = [_record(number, chance, secrets=2, url=2_000) for number in range(30)]
    many[0]["userInfoInIdp"]["oauth"] = {"list": _strings(chance, _STRINGS, _SHORTEST + 10)}
    return {
        "45,000 strings below oauth": many,
        # The most that is looked for and looked through: a little more of either is refused.
        "120 records with 8 tokens each": [_record(number, chance, secrets=8, url=1_900, length=300) for number in range(120)],
        "200 records with 100 tokens each": [_record(number, chance, secrets=100, url=1_200) for number in range(_RECORDS)],
        "240,000 records with nothing in them": [{}] * 240_000,
        "4,700 lists, each a hundred deep": [_nested([_deep(100) for _ in range(4_700)])],
        "2,900 texts, each JSON of ten lists": [_nested(["[[],[],[],[],[],[],[],[],[]]" + " " * 200] * 2_900)],
    }


def _nested(oauth: list[Any]) -> dict[str, Any]:
    return {"identityId": "1", "extIdpId": "1", "userInfoInIdp": {"oauth": oauth}}


def _deep(levels: int) -> list[Any]:
    return [_deep(levels - 1)] if levels > 1 else []


def requests() -> dict[str, dict[str, str]]:
    """The headers of a request, by the name of what is long in them. A request's head may have 64 KiB."""
    return {
        "60 KB of Accept-Language": {"Accept-Language": ",".join(f"x{number};q=0.{number % 9 + 1}" for number in range(5_500))},
        "60 KB of Cookie": {"Cookie": ";" * 60_000},
        "60 KB of If-None-Match": {"If-None-Match": ",".join(f'"{number:06}"' for number in range(6_600))},
        "60 KB of Authorization": {"Authorization": "Bearer " + "eyJ." * 15_000},
        "60 KB of Origin": {"Origin": "https://" + "a." * 30_000},
    }


def _record(number: int, chance: random.Random, *, secrets: int, url: int, length: int = _SHORTEST) -> dict[str, Any]:
    below = _strings(chance, secrets, length)
    source = f"{number:024x}"
    # Escapes: a text is also looked through as what it is underneath.
    picture = "https://pictures.example/" + "".join(chance.choices(["%25", "%2B", "a", "b", "c", "d", "e", "f"], k=url))
    return {
        "identityId": f"9{number:023x}",
        "extIdpId": source,
        "provider": "generic",
        "type": "openid",
        "userIdInIdp": f"subject-{number}",
        "originConnIds": [source],
        "accessToken": below[0],
        "refreshToken": below[1],
        "userInfoInIdp": {"nickname": f"person {number}", "photo": picture[:url], "oauth": {"list": below[2:]}},
    }


def _strings(chance: random.Random, count: int, length: int) -> list[str]:
    return ["".join(chance.choices(_LETTERS, k=length)) for _ in range(count)]
