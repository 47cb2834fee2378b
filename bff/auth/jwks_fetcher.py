"""Where GenAuth publishes its signing keys, and one fetch of them. When to fetch, and what to do without, is `jwks_cache`'s."""

import time
from collections.abc import Callable
from typing import Protocol

from bff.auth.jwk import Key, usable_keys
from bff.errors import BffError, UpstreamMalformed
from bff.resilience import Deadline
from bff.setting_types import is_permitted_url

DISCOVERY_SECONDS = 3600.0


class DiscoveryDocument(Protocol):
    """What is read of GenAuth's metadata (OpenID Connect Discovery 3, RFC 8414 2)."""

    @property
    def issuer(self) -> str:
        """The ``iss`` of its tokens."""

    @property
    def jwks_uri(self) -> str:
        """The address of its key set."""


class JwksEndpoints(Protocol):
    """`bff.genauth.GenAuthClient`. Both raise UpstreamFailure."""

    def discovery(self, deadline: Deadline) -> DiscoveryDocument:
        """The discovery document."""

    def key_set(self, url: str, deadline: Deadline) -> object:
        """The JSON at that address."""


class JwksFetcher:
    """Issuer and keys, as GenAuth publishes them now.

    ``host`` is GENAUTH_HOST. ``issuer`` and ``url`` are the overrides GENAUTH_ISSUER and GENAUTH_JWKS_URL; with both there is no
    discovery, with one it gives the other. A discovery document is used for an hour, or until a fetch of the keys fails.
    """

    def __init__(
        self,
        genauth: JwksEndpoints,
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
        issuer, url = self._issuer_and_url(deadline)
        try:
            keys = usable_keys(self._genauth.key_set(url, deadline))
            if not keys:
                raise UpstreamMalformed(note="no usable key in the key set")
        except BffError:
            self._discovered = None
            raise
        return issuer, keys

    def _issuer_and_url(self, deadline: Deadline) -> tuple[str, str]:
        if self.issuer is not None and self._url is not None:
            return self.issuer, self._url
        if self._discovered is None or self._monotonic() - self._discovered_at >= DISCOVERY_SECONDS:
            document = self._genauth.discovery(deadline)
            self._discovered = self.issuer or _issuer(document), self._url or self._permitted(document)
            self._discovered_at = self._monotonic()
        return self._discovered

    def _permitted(self, document: DiscoveryDocument) -> str:
        """The document's jwks_uri, under the rules of the setting; plain http only where GenAuth itself is a sandbox."""
        url = document.jwks_uri
        if not is_permitted_url(url):
            raise UpstreamMalformed(note="discovery's jwks_uri is not permitted")
        if url.startswith("http:") and not self._host.startswith("http:"):
            raise UpstreamMalformed(note="discovery's jwks_uri is plain http")
        return url


def _issuer(document: DiscoveryDocument) -> str:
    if not document.issuer:
        raise UpstreamMalformed(note="discovery names no issuer")
    return document.issuer
