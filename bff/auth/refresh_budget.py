"""How often GenAuth may be asked for its keys. Pure: the time is told."""

COOLDOWN_SECONDS = 30.0
BURST = 3
_FIRST_RETRIES = (1.0, 2.0, 4.0, 8.0)


class RefreshBudget:
    """A budget for fetching the key set, spent alike by fetches that succeed and that fail.

    *With keys in hand*: one fetch per 30 s in the long run, of which three may come at once. Thirty seconds strictly between two
    fetches would shut out everybody who signs in just after a rotation, if the last fetch happens to be young (at boot, or
    because of somebody's forged token). A flood still gets one per 30 s.

    *Without any keys* nobody can be answered, so a second's trouble at boot must not cost thirty: retries follow after 1, 2, 4
    and then every 8 seconds. Keys off the shelf are nobody's answer to us: with them alone it is the same.
    """

    def __init__(self) -> None:
        self._started = float("-inf")
        self._paid_until = float("-inf")
        self._failures = 0
        self._retry_at = float("-inf")

    def rest(self, now: float, *, have_keys: bool) -> float:
        """Seconds until the next fetch may start, 0.0 when it may now."""
        allowed_at = self._paid_until - (BURST - 1) * COOLDOWN_SECONDS if have_keys else self._retry_at
        return max(0.0, allowed_at - now)

    def start(self, now: float, *, have_keys: bool, unhurried: bool = False) -> bool:
        """Whether a fetch may start now; the budget is then spent. ``unhurried`` leaves the burst to those who wait."""
        if self.rest(now, have_keys=have_keys) > 0 or (unhurried and now < self._started + COOLDOWN_SECONDS):
            return False
        self._started = now
        if have_keys:
            self._paid_until = max(self._paid_until, now) + COOLDOWN_SECONDS
        return True

    def failed(self, now: float) -> None:
        """A fetch brought nothing."""
        self._retry_at = now + _FIRST_RETRIES[min(self._failures, len(_FIRST_RETRIES) - 1)]
        self._failures += 1
