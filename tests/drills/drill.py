"""A named drill: a fault under a load, what came back, and the claims that it had to bear out."""

import math
from collections import Counter
from dataclasses import dataclass, field

DRILLS = {}


@dataclass(frozen=True, slots=True)
class Size:
    """How long and how many: ``QUICK`` is part of ``make test``, ``FULL`` is ``make drills``."""

    name: str
    before: float
    during: float
    after: float
    known: int
    memory_requests: int


QUICK = Size("quick", before=0.7, during=2.5, after=5.0, known=6, memory_requests=30_000)
FULL = Size("full", before=1.5, during=6.0, after=5.0, known=20, memory_requests=1_000_000)


@dataclass(slots=True)
class Picture:
    """What to draw: the moments between which something was wrong, and their names."""

    begun: float
    spans: list = field(default_factory=list)
    title: str = ""


@dataclass(slots=True)
class Outcome:
    """What a drill found. ``claims`` are sentences that had to be true, each with whether it was."""

    fault: str
    load: str
    answers: list = field(default_factory=list)
    upstream: object = "-"
    claims: list = field(default_factory=list)
    figures: list = field(default_factory=list)
    picture: Picture | None = None
    name: str = ""
    promise: str = ""
    took: float = 0.0
    late: float = 0.0

    def claim(self, sentence, truth, figure=""):
        """It had to be so."""
        self.claims.append((f"{sentence}{f' ({figure})' if figure != '' else ''}", bool(truth)))

    @property
    def broken(self):
        return [sentence for sentence, truth in self.claims if not truth]

    @property
    def counted(self):
        return Counter(answer.source for answer in self.answers)

    @property
    def errors(self):
        return sum(answer.status == 0 or answer.status >= 400 for answer in self.answers)

    @property
    def worst(self):
        return max((answer.seconds for answer in self.answers), default=0.0)

    @property
    def p99(self):
        return percentile([answer.seconds for answer in self.answers], 99)

    def within(self, sentence, seconds):
        """No answer took longer, but for what the machine itself was late by."""
        self.claim(
            sentence, self.worst < seconds + self.late, f"{self.worst:.2f} s, machine up to {self.late * 1000:.0f} ms late"
        )

    def no_wrong_answer(self):
        """What every drill claims: the right person's accounts, or an error that the contract knows."""
        wrong = Counter(answer.wrong for answer in self.answers if answer.wrong)
        self.claim("no wrong answer", not wrong, ", ".join(f"{count} x {what}" for what, count in wrong.items()))


def drill(name, promise):
    """Register ``async def drill(size) -> Outcome`` under a name; ``promise`` is the number of the one it holds to."""

    def register(function):
        DRILLS[name] = (function, promise)
        return function

    return register


def percentile(values, percent):
    """The nearest-rank percentile, 0.0 of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0
