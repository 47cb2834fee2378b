"""GenAuth's responses as a test writes them, at the one place where bytes come in: below it everything is real."""

from bff.genauth.call_policy import CallPolicy
from bff.genauth.messages import Response
from bff.genauth.transport import Transport
from bff.web import services_of

IDENTITIES = "/api/v3/get-identities"
SOURCES = "/api/v3/get-application-enabled-extidps"


class Canned:
    """Answers the paths that `answers` names instead of the transport, which sends everything else to the sandbox."""

    def __init__(self, app, genauth, monkeypatch):
        self._services = services_of(app)
        self._host = genauth.url
        self._answers = {}
        send = Transport.send

        def sent(transport, url, request, deadline):
            return self._answers.get(url.removeprefix(self._host)) or send(transport, url, request, deadline)

        monkeypatch.setattr(Transport, "send", sent)

    def answers(self, path, status, headers, body):
        """From now on, with every circuit breaker closed: what came before leaves no trace."""
        self._answers[path] = Response(status, headers, body)
        for policy in ("identities_policy", "sources_policy"):
            setattr(self._services.genauth, policy, CallPolicy(policy, 32, self._services.metrics))

    def sources_due(self):
        """The catalogue of identity sources is asked for again with the next request."""
        self._services.providers._due = float("-inf")
        self._services.providers._catalogue = None
        self._services.providers._fetched.clear()
