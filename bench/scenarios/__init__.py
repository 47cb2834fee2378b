"""The scenarios of the table, each as rounds in which the programs take turns.

Every function returns what it measured as plain values; `verdicts` makes the table's rows of them and knows the bars.
"""

from collections.abc import Callable
from typing import Any

from bench.scenarios.hits import crowd, growth, steady, workers
from bench.scenarios.misses import hanging, miss, mixed, stampede
from bench.scenarios.resources import cold_start, memory
from bench.scenarios.screens import open_screens
from bench.scenarios.worst_case import worst_case
from bench.world import Bench

SCENARIOS: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "steady": steady,
    "crowd": crowd,
    "screens": open_screens,
    "miss": miss,
    "stampede": stampede,
    "mixed": mixed,
    "hanging": hanging,
    "worst_case": worst_case,
    "memory": memory,
    "cold_start": cold_start,
    "workers": workers,
    "growth": growth,
}
