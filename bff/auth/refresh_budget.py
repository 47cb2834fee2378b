"""How often GenAuth may be called for its key set. Pure: the time is handed in."""

COOLDOWN_SECONDS = 30.0
BURST = 3
_FIRST_RETRIES = (1.0, 2.0, 4.0, 8.0)


class RefreshBudget:
    """Limits the fetches of the key set, whether they succeed or fail.

    *With keys*: one fetch in 30 s in the long run, of which three may come at once. With thirty seconds strictly between two
    fetches, nobody could sign in just after a rotation that follows a fetch (at the start, or for a forged token). A flood still
    gets one in 30 s.

    *Without keys* nobody can be answered, so one failure at the start must not cost thirty seconds: retries follow after 1, 2, 4
    and then every 8 seconds. A stored snapshot counts as no keys.
    """

    def __init__(self) -> None:
        self._last_start = float("-inf")
        self._spent_until = float("-inf")
        self._failures = 0
        self._retry_at = float("-inf")

    def seconds_left(self, now: float, *, have_keys: bool) -> float:
        """Seconds until the next fetch may start, 0.0 when it may now."""
        allowed_at = self._spent_until - (BURST - 1) * COOLDOWN_SECONDS if have_keys else self._retry_at
        return max(0.0, allowed_at - now)

    def spend(self, now: float, *, have_keys: bool, background: bool = False) -> bool:
        """Whether a fetch may start now; it is then counted. One in the ``background`` leaves the burst to waiting requests."""
        if self.seconds_left(now, have_keys=have_keys) > 0 or (background and now < self._last_start + COOLDOWN_SECONDS):
            return False
        self._last_start = now
        if have_keys:
            self._spent_until = max(self._spent_until, now) + COOLDOWN_SECONDS
        return True

    def record_failure(self, now: float) -> None:
        """A fetch brought no keys."""
        self._retry_at = now + _FIRST_RETRIES[min(self._failures, len(_FIRST_RETRIES) - 1)]
        self._failures += 1
