"""What ``include`` adds to a person's linked accounts, as finished JSON, and until when it holds."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import orjson

from bff.accounts.providers import Catalogue, Providers
from bff.accounts.rendering import render_linkable, render_with_unlink
from bff.accounts.security_facts import SecurityFacts
from bff.accounts.service import REFRESHABLE_SECONDS, Answer
from bff.accounts.unlink_rule import ENTERPRISE, LinkedSource, needs_facts, permission
from bff.errors import TokenRefused, UserBlocked
from bff.models import Language, RenderedAccounts, Session
from bff.resilience import Deadline


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer. ``good_until`` in epoch seconds; 0 where it is not to be served again."""

    json: bytes
    good_until: float


class Inclusions:
    """Adds to linked accounts what the application knows beside them."""

    def __init__(
        self,
        providers: Providers,
        facts: SecurityFacts,
        *,
        denied: Collection[str],
        methods: Collection[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``denied`` and ``methods`` as in `unlink_rule.permission`."""
        self._providers = providers
        self._facts = facts
        self._denied = frozenset(map(str.lower, denied))
        self._methods = methods
        self._clock = clock

    def linkable(self, session: Session, accounts: RenderedAccounts, language: Language, deadline: Deadline) -> Part:
        """The sources that the person could link; ``null`` while nobody can say which there are."""
        catalogue, good_until = self._catalogue(session, deadline)
        return Part(render_linkable(catalogue.linkable(accounts.sources, language)), good_until)

    def with_unlink(
        self,
        session: Session,
        answer: Answer,
        accounts: bytes,
        deadline: Deadline,
        *,
        refresh: bool = False,
        changed: bool = False,
    ) -> Part:
        """The answer's ``accounts``, a JSON array, each with whether it may be unlinked.

        Raises TokenRefused, UserBlocked; not where the answer tells that something was ``changed``, which it was all the same.
        """
        # Nothing but the word enterprise asks for a category.
        catalogue, good_until = self._catalogue(session, deadline) if ENTERPRISE in self._denied else (_ANY, answer.good_until)
        sources = linked_sources(answer.entry.accounts, catalogue)
        facts = None
        if any(needs_facts(sources, each, denied=self._denied, methods=self._methods) for each in sources):
            # A GenAuth that has just failed is not asked for more.
            younger_than = self._clock() - REFRESHABLE_SECONDS if refresh else float("-inf")
            try:
                facts = self._facts.of(session, deadline, younger_than=younger_than, may_ask=not answer.stale)
            except (TokenRefused, UserBlocked):
                if not changed:
                    raise
            good_until = min(good_until, facts.fresh_until if facts else 0.0)
        info = facts.info if facts else None
        permissions = [permission(sources, each, info, denied=self._denied, methods=self._methods) for each in sources]
        return Part(render_with_unlink(accounts, permissions), min(good_until, answer.good_until))

    def _catalogue(self, session: Session, deadline: Deadline) -> tuple[Catalogue, float]:
        """The application's sources, and until when they hold."""
        self._providers.freshen(session.token)
        catalogue = self._providers.catalogue(deadline)
        return catalogue, self._clock() + self._providers.fresh_seconds if catalogue.is_known else 0.0


_ANY = Catalogue()


def linked_sources(accounts: RenderedAccounts, catalogue: Catalogue) -> list[LinkedSource]:
    """The accounts as `unlink_rule` knows them, in their order."""
    types = map(_type, orjson.loads(accounts.json("en", identities=False)))
    return [
        LinkedSource(source_id, type_, catalogue.category_of(source_id, type_))
        for source_id, type_ in zip(accounts.sources, types, strict=True)
    ]


def _type(account: dict[str, Any]) -> str:
    """The provider's type, which is a text unless somebody else wrote into Redis."""
    match account:
        case {"provider": {"type": str(type_)}}:
            return type_
    return "unknown"
