"""Where GenAuth publishes its signing keys, and one fetch of them. When to fetch, and what to do without, is `jwks_cache`'s."""

import time
from collections.abc import Callable

from bff.auth.jwk import Key, usable_keys
from bff.errors import BffError, UpstreamMalformed
from bff.genauth import GenAuthClient, permitted_url
from bff.resilience import Deadline

DISCOVERY_SECONDS = 3600.0


class JwksFetcher:
    """Issuer and keys, as GenAuth publishes them now.

    ``host`` is GENAUTH_HOST. ``issuer`` and ``url`` are the overrides GENAUTH_ISSUER and GENAUTH_JWKS_URL; with both there is no
    discovery, with one it gives the other. A discovery document is used for an hour, or until a fetch of the keys fails.
    """

    def __init__(
        self,
        genauth: GenAuthClient,
        *,
        host: str,
        issuer: str | None = None,
        url: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.issuer = issuer
        self._genauth = genauth
        self._host = host
        self._url = url
        self._monotonic = monotonic
        self._discovered: tuple[str, str] | None = None
        self._discovered_at = 0.0

    def fetch(self, deadline: Deadline) -> tuple[str, tuple[Key, ...]]:
        """The issuer and at least one key; raises what GenAuth's client raises, or UpstreamMalformed. One caller at a time.

        An answer that is refused here has the ``reason`` ``discovery_refused`` or ``key_set_refused``.
        """
        try:
            issuer, url = self._issuer_and_url(deadline)
        except BffError as error:
            error.reason = error.reason or "discovery_refused"
            raise
        try:
            keys = usable_keys(self._genauth.key_set(url, deadline))
            if not keys:
                raise UpstreamMalformed(note="no usable key in the key set")
        except BffError as error:
            error.reason = error.reason or "key_set_refused"
            self._discovered = None
            raise
        return issuer, keys

    def _issuer_and_url(self, deadline: Deadline) -> tuple[str, str]:
        if self.issuer is not None and self._url is not None:
            return self.issuer, self._url
        if self._discovered is None or self._monotonic() - self._discovered_at >= DISCOVERY_SECONDS:
            document = self._genauth.discovery(deadline)
            self._discovered = self.issuer or document.issuer, self._url or permitted_url(document.jwks_uri, self._host)
            self._discovered_at = self._monotonic()
        return self._discovered
