"""Whether GenAuth does its work for us, for the readiness probe: configuration first, then whether it is away."""

from bff.auth.sessions import Verifier
from bff.errors import BffError, UpstreamFailure, UpstreamRejected
from bff.genauth import CallNotMade, GenAuthClient
from bff.observability import Reason
from bff.resilience import Deadline

# Orchestrators give a probe a second or two.
_SECONDS = 1.0


class GenAuthCheck:
    """Called for what is wrong with GenAuth right now, None if nothing is. ``discovery``: whether we depend on its document."""

    def __init__(self, genauth: GenAuthClient, verifier: Verifier, *, discovery: bool = True) -> None:
        self._genauth = genauth
        self._verifier = verifier
        self._discovery = discovery
        self._last: Reason | None = None

    def __call__(self) -> Reason | None:
        """One call to GenAuth of a second at most, or a fetch of keys while there are none; two calls while a circuit is open."""
        try:
            self._last = self._found(Deadline.after(_SECONDS))
        except CallNotMade:
            pass  # the probe's own circuit is open: what it found last still holds
        except BffError as error:
            self._last = Reason(error.reason or error.code)
        return self._last

    def _found(self, deadline: Deadline) -> Reason | None:
        obstacle = self._verifier.obstacle(deadline)
        if obstacle and obstacle.kind == "misconfigured":
            return obstacle
        if not self._verifier.calls_genauth:
            try:
                self._genauth.discovery(deadline, policy=self._genauth.health_policy)
            except UpstreamRejected as error:
                if self._discovery:
                    return Reason(error.reason)  # the keys at hand still verify
        try:
            self._genauth.probe_identities()
        except UpstreamFailure:
            return Reason("identities_circuit_open")
        impediment = self._genauth.impediment()
        return Reason(impediment) if impediment else obstacle
