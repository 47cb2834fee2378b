"""How a person can sign in but by linked accounts: kept like the accounts, and never in the way of their list.

Beside the list it is a hint, worth half a second and no more; a change asks anew and waits. Who asks that GenAuth refuses is
refused as for the accounts.
"""

import time
from collections.abc import Callable

from bff.accounts.service import LinkedAccounts
from bff.cache import AccountsCache, SecurityEntry
from bff.errors import TokenRefused, UpstreamFailure, UpstreamRejected, UserBlocked
from bff.genauth import GenAuthClient
from bff.models import Session
from bff.resilience import BulkheadFull, Cache, Deadline, SingleFlight, cache

HINT_SECONDS = 0.5
_NOT_AGAIN_SECONDS = 2.0


class SecurityFacts:
    """Finds how somebody can sign in, asking GenAuth as seldom as it can."""

    def __init__(
        self,
        genauth: GenAuthClient,
        cache_: AccountsCache,
        accounts: LinkedAccounts,
        *,
        hint_seconds: float = HINT_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``hint_seconds`` is how long a list waits for what GenAuth says."""
        self._genauth = genauth
        self._cache = cache_
        self._accounts = accounts
        self._hint_seconds = hint_seconds
        self._clock = clock
        self._flights: SingleFlight[SecurityEntry] = SingleFlight(accounts.waiting_room)
        self._failures: Cache[str, bool] = cache("security_failures", seconds=_NOT_AGAIN_SECONDS)

    def of(
        self, session: Session, deadline: Deadline, *, younger_than: float = float("-inf"), may_ask: bool = True
    ) -> SecurityEntry | None:
        """What is known, else what GenAuth says within a moment; None if it does not. Raises TokenRefused, UserBlocked.

        What was known at ``younger_than``, in epoch seconds, or before is asked anew. Without ``may_ask`` nothing is asked.
        """
        known = self._cache.security(session)
        if known and self._clock() >= known.fresh_until:
            known = None
        if (known and known.at > younger_than) or not may_ask or self._failures.get(session.user_id):
            return known
        deadline = deadline.within(self._hint_seconds)
        number, since = self._accounts.changes_so_far(session)
        try:
            # By token, as for the accounts: a refusal is one token's.
            found, _ = self._flights.do(
                session.digest,
                lambda: self._ask(session, deadline, is_hint=True),
                deadline,
                visitor=session.user_id,
                number=number,
                since=since,
            )
        except (UpstreamFailure, UpstreamRejected):
            self._failures.put(session.user_id, True)
            return known
        except (TimeoutError, BulkheadFull):
            return known
        return found

    def now(self, session: Session, deadline: Deadline) -> SecurityEntry:
        """What GenAuth says when it is asked now, for a change. Raises what GenAuth fails with."""
        return self._ask(session, deadline)

    def _ask(self, session: Session, deadline: Deadline, *, is_hint: bool = False) -> SecurityEntry:
        asked_at = self._clock()
        try:
            info = self._genauth.security_info(session.token, deadline, whose=session.digest, is_hint=is_hint)
        except (TokenRefused, UserBlocked) as refusal:
            self._accounts.refuse(session, refusal)
            raise
        return self._cache.put_security(session, info, asked_at)
