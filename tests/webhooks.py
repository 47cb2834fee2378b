"""GenAuth's events as its documentation shows them, shortened; those of which it has no sample, as its tables describe them."""

import json
from pathlib import Path

EVENTS = Path(__file__).parent / "samples" / "events"


def recorded(case):
    """The event of that name."""
    return json.loads((EVENTS / f"{case}.json").read_bytes())
