"""GenAuth's answers as a test writes them, at the one place where bytes come in: below it everything is real."""

from bff.genauth.call_policy import CallPolicy
from bff.genauth.messages import Response
from bff.web import services_of

IDENTITIES = "/api/v3/get-identities"
SOURCES = "/api/v3/get-application-enabled-extidps"


class Canned:
    """Stands between the application and the sandbox's port: answers the paths it was told, passes everything else on."""

    def __init__(self, app, genauth):
        self._services = services_of(app)
        self._client = self._services.linked_accounts._genauth
        self._real = self._client._caller._transport
        self._client._caller._transport = self
        self._host = genauth.url
        self._answers = {}

    def send(self, url, request, deadline):
        answer = self._answers.get(url.removeprefix(self._host))
        return answer or self._real.send(url, request, deadline)

    def close(self):
        self._real.close()

    def answers(self, path, status, headers, body):
        """From now on, with every breaker closed and no catalogue kept: what came before leaves no trace."""
        self._answers[path] = Response(status, headers, body)
        for policy in ("identities_policy", "sources_policy"):
            setattr(self._client, policy, CallPolicy(policy, 32, self._services.metrics))

    def sources_due(self):
        """The catalogue of identity sources is asked for again with the next request."""
        self._services.providers._due = float("-inf")
        self._services.providers._catalogue = None
        self._services.providers._fetched.clear()
