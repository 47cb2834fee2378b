"""What ``include`` adds to a person's linked accounts, as finished JSON, and until when it holds."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from bff.accounts.providers import Providers
from bff.accounts.rendering import render_linkable
from bff.models import Language, RenderedAccounts, Session
from bff.resilience import Deadline


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer. ``good_until`` in epoch seconds; 0 where it is not to be served again."""

    json: bytes
    good_until: float


class Inclusions:
    """Adds to linked accounts what the application knows beside them."""

    def __init__(self, providers: Providers, *, clock: Callable[[], float] = time.time) -> None:
        self._providers = providers
        self._clock = clock

    def linkable(self, session: Session, accounts: RenderedAccounts, language: Language, deadline: Deadline) -> Part:
        """The sources that the person could link; ``null`` while nobody can say which there are."""
        self._providers.freshen(session.token)
        catalogue = self._providers.catalogue(deadline)
        found = catalogue.linkable(accounts.sources, language)
        good_until = 0.0 if found is None else self._clock() + self._providers.fresh_seconds
        return Part(render_linkable(found), good_until)
