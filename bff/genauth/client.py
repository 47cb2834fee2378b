"""GenAuth's API as methods. `calls` makes the calls, `protocol` and `oidc` read the responses, `transport` does the I/O."""

import time
from contextlib import suppress
from functools import partial
from typing import Any, Self

import structlog

from bff.errors import BffError, TokenInvalid, UpstreamRejected, UserBlocked
from bff.genauth import changes, oidc, protocol
from bff.genauth.call_policy import CallPolicy
from bff.genauth.calls import Call, Caller
from bff.genauth.oidc import Discovery, Introspection, permitted_url
from bff.genauth.protocol import ExtIdps, Identities
from bff.genauth.transport import Transport
from bff.models import SecurityInfo
from bff.observability import Recorder
from bff.resilience import Deadline
from bff.setting_addresses import is_same_host
from bff.settings import Settings

log = structlog.get_logger()

# How long discovery's introspection endpoint is used, and when discovery is asked again after it failed.
DISCOVERED_SECONDS = 3600.0
REDISCOVER_SECONDS = 30.0
# What GenAuth is asked about to see whether it answers; it knows no such token.
NOBODYS_TOKEN = "readiness-probe"  # noqa: S105 - nobody's
# So many people for whom GenAuth refuses the application are no single person's case.
_REJECTED_AT_MOST = 3


class GenAuthClient:
    """GenAuth's API, shared by all threads; nothing about a person stays here but, for a while, for whom GenAuth failed.

    ``host`` is GENAUTH_HOST, which may end in a path (unified domains tell applications apart by it, docs/genauth.md 1.1).
    ``issuer`` is GENAUTH_ISSUER, None for the one that belongs to the host.
    """

    def __init__(
        self,
        host: str,
        app_id: str,
        app_secret: str | None,
        transport: Transport,
        *,
        recorder: Recorder,
        issuer: str | None = None,
        upstream_seconds: float = 3.0,
        at_once: int = 64,
    ) -> None:
        self._host = host.rstrip("/")
        self._issuer = issuer or oidc.issuer_of(self._host)
        self._other_issuer: str | None = None
        self._app_id = app_id
        self._app_secret = app_secret
        self._transport = transport
        self._recorder = recorder
        self._upstream_seconds = upstream_seconds
        self._caller = Caller(self._host, transport, recorder, upstream_seconds=upstream_seconds)
        self.identities_policy = CallPolicy("identities", at_once, recorder)
        self.sources_policy = CallPolicy("ext-idps", 2, recorder)
        self.security_info_policy = CallPolicy("security-info", at_once, recorder)
        # An answer to a question that waits for no more than a moment: its timeouts must not keep anybody from a change.
        self.security_hint_policy = CallPolicy("security-hint", 16, recorder)
        self.changes_policy = CallPolicy("changes", at_once, recorder)
        self.link_url_policy = CallPolicy("link-url", at_once, recorder)
        # Of its own, so that tokens can be verified while get-identities hangs. No two people can take all of its places.
        self.oidc_policy = CallPolicy("oidc", 24, recorder)
        # For tokens that were not accepted here before. Made-up ones may take all of its places: the others have theirs. After a
        # restart everybody's token is such a one, and a crowd has a longer line.
        self.introspection_policy = CallPolicy("introspection", 8, recorder, line=32)
        # Also of its own: a probe is impatient, and its failures must not keep tokens from being verified.
        self.health_policy = CallPolicy("health", 1, recorder)
        self._endpoint = (f"{self._host}{oidc.INTROSPECTION_PATH}", False)
        self._rediscover_at = float("-inf")
        self._rejected_for: set[str] = set()  # since the last success
        self._rejection = ""

    @classmethod
    def from_settings(cls, settings: Settings, recorder: Recorder) -> Self:
        """The client that the settings describe. Connects to nothing yet."""
        return cls(
            settings.genauth_host,
            settings.genauth_app_id,
            settings.genauth_app_secret,
            Transport(ca_bundle=settings.genauth_ca_bundle, connect_seconds=settings.upstream_connect_seconds),
            recorder=recorder,
            issuer=settings.genauth_issuer,
            upstream_seconds=settings.upstream_deadline_seconds,
        )

    def raise_if_open(self, whose: str | None = None) -> None:
        """Raise the UpstreamUnavailable with which `identities` would refuse to ask: its circuit is open or its bulkhead full."""
        self._caller.raise_if_open(self.identities_policy, "identities", whose)

    def identities(self, token: str, deadline: Deadline, *, whose: str | None = None) -> Identities:
        """The person's identity records. Raises TokenRefused, UserBlocked, UpstreamRejected, UpstreamFailure, TokenInvalid.

        ``whose`` stands for the token: failures of one token alone never open the circuit.
        """
        call = Call("identities", protocol.identities_request(self._app_id, token), protocol.read_identities, whose)
        try:
            found = self._caller.make(call, self.identities_policy, deadline)
        except UpstreamRejected as error:
            if len(self._rejected_for) < _REJECTED_AT_MOST:
                self._rejected_for.add(whose or "")
            self._rejection = error.reason
            raise
        self._rejected_for.clear()
        self._report_left_out("identities", found.left_out)
        return found

    def ext_idps(self, token: str, deadline: Deadline) -> ExtIdps:
        """The identity sources that the application offers; the same errors as `identities`."""
        request = protocol.ext_idps_request(self._app_id, token)
        found = self._caller.make(Call("ext_idps", request, protocol.read_ext_idps), self.sources_policy, deadline)
        self._report_left_out("ext_idps", found.left_out)
        return found

    def security_info(self, token: str, deadline: Deadline, *, whose: str | None = None, is_hint: bool = False) -> SecurityInfo:
        """How else the person can sign in; ``whose`` and the errors as of `identities`. ``is_hint``: no change depends on it."""
        call = Call("security_info", changes.security_info_request(self._app_id, token), changes.read_security_info, whose)
        return self._caller.make(call, self.security_hint_policy if is_hint else self.security_info_policy, deadline)

    def unlink(self, token: str, source_id: str, deadline: Deadline, *, whose: str | None = None) -> None:
        """Ask GenAuth once to unlink what the person has of that identity source. It says yes to what is not linked, too.

        Nothing was changed: ChangeNotSent, NotLinked, LastLoginMethod, TokenRefused, TokenInvalid, UserBlocked,
        UpstreamForbidden, UpstreamThrottled. ChangeUnconfirmed for everything else that happens once it was sent.
        """
        call = Call("unlink", changes.unlink_request(self._app_id, token, source_id), changes.read_unlinked, whose)
        try:
            self._caller.make(call, self.changes_policy, deadline)
        except BffError as error:
            raise changes.outcome(error, sent=call.sent) from None

    def link_url(
        self,
        token: str,
        connection: str,
        id_token: str,
        deadline: Deadline,
        *,
        return_to: str | None = None,
        form_post: bool = False,
        whose: str | None = None,
    ) -> str:
        """Where to send the person's browser to link an account by that connection, and then ``return_to``, as a ``form_post``.

        Raises AlreadyLinked, LinkedToAnotherPerson, NotFound (no such connection or application), else as `identities`.
        """
        request = changes.link_url_request(self._app_id, token, connection, id_token, return_to=return_to, form_post=form_post)
        call = Call("link_url", request, partial(changes.read_link_url, host=self._host), whose)
        return self._caller.make(call, self.link_url_policy, deadline)

    def discovery(self, deadline: Deadline, *, policy: CallPolicy | None = None) -> Discovery:
        """The OpenID Connect discovery document. Raises UpstreamFailure, or UpstreamRejected if there is none of our issuer's."""
        call = Call("discovery", oidc.discovery_request(), oidc.read_discovery)
        found = self._caller.make(call, policy or self.oidc_policy, deadline)
        self._check_issuer(found.issuer)
        return found

    def key_set(self, url: str, deadline: Deadline) -> dict[str, Any]:
        """The JSON Web Key Set at that absolute address. Raises UpstreamFailure, or UpstreamRejected if there is none."""
        return self._caller.make(Call("key_set", oidc.key_set_request(url), oidc.read_key_set), self.oidc_policy, deadline)

    def introspect(
        self, token: str, deadline: Deadline, *, known: bool = False, whose: str | None = None, policy: CallPolicy | None = None
    ) -> Introspection:
        """Whether GenAuth accepts a token, and whose it is. ``known``: it was accepted before; ``whose`` as in `identities`.

        Raises UpstreamFailure, or UpstreamRejected if GenAuth does not accept our secret: that says nothing about the token.
        """
        deadline = deadline.within(self._upstream_seconds)
        url, basic = self._introspection_endpoint(deadline)
        request = oidc.introspection_request(url, self._app_id, self._app_secret, token, basic=basic)
        call = Call("introspection", request, oidc.read_introspection, whose)
        return self._caller.make(call, policy or (self.oidc_policy if known else self.introspection_policy), deadline)

    def probe_identities(self) -> None:
        """Close the circuit of `identities` if GenAuth answers again, so that no person has to. Raises UpstreamFailure if not.

        Nobody's token is sent, and refused by a GenAuth that is at work. As patient as a person's call: an answer that takes
        long is an answer.
        """
        if self.identities_policy.breaker.state == "closed":
            return
        call = Call("identities", protocol.identities_request(self._app_id, NOBODYS_TOKEN), protocol.read_identities)
        with suppress(TokenInvalid, UserBlocked, UpstreamRejected):
            self._caller.make(call, self.identities_policy, Deadline.after(self._upstream_seconds))

    def impediment(self) -> str | None:
        """In a word why GenAuth answers nobody at the moment, by the calls that were made for people; None if it does.

        It failed for enough of them to open a circuit, or refused the application for some and answered nobody since.
        """
        policies = {"introspection": self.introspection_policy, "oidc": self.oidc_policy}
        for name, policy in policies.items():
            if policy.breaker.state == "open":
                return f"{name}_circuit_open"
        return self._rejection if len(self._rejected_for) >= _REJECTED_AT_MOST else None

    def close(self) -> None:
        """Close the idle connections."""
        self._transport.close()

    def _report_left_out(self, operation: str, records: int) -> None:
        if records:
            self._recorder.records_left_out(records)
            log.warning("records_left_out", operation=operation, records=records)

    def _check_issuer(self, found: str) -> None:
        """Raise UpstreamRejected for an issuer on another host than the configured: its document is not for us (RFC 8414 3.3)."""
        refused = not any(is_same_host(found, ours) for ours in (self._issuer, self._host))
        if found not in (self._issuer, self._other_issuer):
            self._other_issuer = found
            log.warning("issuer_mismatch", expected=self._issuer, found=found, refused=refused)
        if refused:
            error = UpstreamRejected(note="discovery names an issuer on another host")
            error.reason = "discovery_refused"
            raise error

    def _introspection_endpoint(self, deadline: Deadline) -> tuple[str, bool]:
        """Its address and whether our secret goes into the header; from discovery, else where GenAuth's documents say."""
        if time.monotonic() >= self._rediscover_at:
            # Before the call: meanwhile other threads use the address that is known.
            self._rediscover_at = time.monotonic() + REDISCOVER_SECONDS
            with suppress(BffError):  # logged already
                self._endpoint = self._discovered_endpoint(deadline.within(deadline.remaining() / 2))
                self._rediscover_at = time.monotonic() + DISCOVERED_SECONDS
        return self._endpoint

    def _discovered_endpoint(self, deadline: Deadline) -> tuple[str, bool]:
        found = self.discovery(deadline)
        url = permitted_url(found.introspection_endpoint or f"{self._host}{oidc.INTROSPECTION_PATH}", self._host)
        methods = found.introspection_auth_methods
        return url, "client_secret_basic" in methods and "client_secret_post" not in methods
