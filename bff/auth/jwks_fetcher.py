"""Where GenAuth publishes its signing keys, and fetching them once. When to fetch, and what to do without, is `keyset`'s."""

import time
from collections.abc import Callable
from typing import Protocol

from bff.auth.jwk import Key, usable_keys
from bff.errors import BffError, UpstreamMalformed
from bff.resilience import Deadline
from bff.setting_types import is_permitted_url

DISCOVERY_SECONDS = 3600.0


class Discovery(Protocol):
    """What we need of GenAuth's OIDC discovery document."""

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens."""

    @property
    def jwks_uri(self) -> str:
        """Where its keys are."""


class GenAuth(Protocol):
    """Who is asked: `bff.genauth.client.GenAuthClient`. Both raise UpstreamFailure."""

    def discovery(self, deadline: Deadline) -> Discovery:
        """The OIDC discovery document."""

    def key_set(self, url: str, deadline: Deadline) -> object:
        """The JSON at that address."""


class JwksFetcher:
    """Issuer and keys, as GenAuth publishes them now.

    ``host`` is GENAUTH_HOST. ``issuer`` and ``url`` are the overrides GENAUTH_ISSUER and GENAUTH_JWKS_URL; with both there is no
    discovery, with one it tells the other. What discovery told is believed for an hour, or until the keys are not there.
    """

    def __init__(
        self,
        genauth: GenAuth,
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
        """The issuer and at least one key; raises what GenAuth's client raises, or UpstreamMalformed. One caller at a time."""
        issuer, url = self._where(deadline)
        try:
            keys = usable_keys(self._genauth.key_set(url, deadline))
            if not keys:
                raise UpstreamMalformed(note="no usable key in the key set")
        except BffError:
            self._discovered = None
            raise
        return issuer, keys

    def _where(self, deadline: Deadline) -> tuple[str, str]:
        if self.issuer is not None and self._url is not None:
            return self.issuer, self._url
        if self._discovered is None or self._monotonic() - self._discovered_at >= DISCOVERY_SECONDS:
            document = self._genauth.discovery(deadline)
            self._discovered = self.issuer or _issuer(document), self._url or self._permitted(document)
            self._discovered_at = self._monotonic()
        return self._discovered

    def _permitted(self, document: Discovery) -> str:
        """The document's jwks_uri, held to what the setting may be; plain http only where GenAuth itself is a sandbox."""
        url = document.jwks_uri
        if not is_permitted_url(url):
            raise UpstreamMalformed(note="discovery's jwks_uri is not permitted")
        if url.startswith("http:") and not self._host.startswith("http:"):
            raise UpstreamMalformed(note="discovery's jwks_uri is plain http")
        return url


def _issuer(document: Discovery) -> str:
    if not document.issuer:
        raise UpstreamMalformed(note="discovery names no issuer")
    return document.issuer
