"""What GenAuth tells of a person counts at once, whichever worker is asked, and whatever either kept of their tokens."""

import threading
import time

import pytest

from bff.web import services_of
from tests.web.conftest import client_of

PATH = "/me/linked-accounts"
ASKED, INTROSPECTED = "/api/v3/get-identities", "/oidc/token/introspection"
SECRET = "shown-by-genauth"
KEPT = {"TOKEN_ACCEPTED_SECONDS": "300", "CACHE_TTL_SECONDS": "300", "WEBHOOK_SECRET": SECRET}

# What happened at GenAuth, and what it tells.
SIGNED_OUT = {
    "kick": lambda genauth, person: genauth.kick(person),
    "user:blocked": lambda genauth, person: genauth.block(person),
    "user:archived": lambda genauth, person: genauth.block(person, 2120008),
    "user:deleted": lambda genauth, person: genauth.block(person, 2004),
}
CHANGED = (
    "user:updated",
    "user:udv-changed",
    "user:email-verified",
    "user:password-changed",
    "user:unblocked",
    "user:unarchived",
)


class Workers:
    """Two workers of one service: one is told, and both are asked."""

    def __init__(self, genauth, stored, apps, kind):
        self._genauth, self._stored, self._apps, self._kind = genauth, stored, apps, kind
        self.opaque = kind == "opaque"
        self._clients = [client_of(app) for app in apps]

    def sign_in(self, person):
        return {"Authorization": f"Bearer {self._genauth.token(person, kind=self._kind)}"}

    def ask(self, headers):
        """What each of them answers, the status and the code of a problem."""
        answers = [client.get(PATH, headers=headers) for client in self._clients]
        return [(answer.status_code, answer.json.get("code")) for answer in answers]

    def totals(self, headers):
        return [client.get(PATH, headers=headers).json["meta"]["total"] for client in self._clients]

    @property
    def connected(self):
        return [services_of(app).invalidations.connected for app in self._apps]

    def statuses(self, headers):
        return [status for status, _ in self.ask(headers)]

    def warm(self, person):
        """A session of somebody's, which both of them keep as accepted."""
        headers = self.sign_in(person)
        assert self.statuses(headers) == [200, 200]
        self._genauth.forget_calls()
        assert self.statuses(headers) == [200, 200]
        assert self._genauth.calls() == 0, "kept, or this test shows nothing"
        return headers

    def tell(self, event, person, *, heard=True, **data):
        """The first worker is sent an event; it is over when both have heard of it."""
        user = {"id": self._genauth.id_of(person)}
        body = {"eventName": event, "data": data or {"user": user, "users": [user]}}
        response = self._clients[0].post("/webhooks/genauth", json=body, headers={"x-authing-webhook-secret": SECRET})
        assert response.status_code == 204
        if heard:
            self._have_heard()

    def _have_heard(self):
        """Wait until both have heard of everything so far: of a change that was made after it, for they hear in order."""
        both, known = [services_of(app).changes for app in self._apps], set(self._stored.keys("*:invalidated"))
        both[0].forget(f"nobody-{len(known)}", cause="webhook", wait=False)
        (key,) = set(self._stored.keys("*:invalidated")) - known
        assert eventually(lambda: all(changes.marker(key.decode(), None) for changes in both))

    def travel(self, seconds):
        for app in self._apps:
            app.extensions["clock"].by = seconds


@pytest.fixture(params=["jwks", "introspection"])
def workers(request, app_with, genauth, stored):
    apps = [app_with(**KEPT, TOKEN_VERIFICATION=request.param) for _ in range(2)]
    both = Workers(genauth, stored, apps, "access" if request.param == "jwks" else "opaque")
    assert eventually(lambda: all(both.connected))
    yield both
    for app in apps:
        services_of(app).invalidations.stop()


def eventually(what, seconds=8.0):
    patience = time.monotonic() + seconds
    while time.monotonic() < patience:
        if what():
            return True
        time.sleep(0.005)
    return False


@pytest.mark.parametrize("event", SIGNED_OUT)
def test_who_was_signed_out_is_refused_by_every_worker_at_once(workers, genauth, event):
    headers, other = workers.warm("mei"), workers.warm("omar")
    SIGNED_OUT[event](genauth, "mei")
    assert workers.statuses(headers) == [200, 200], "kept, until it is told"

    workers.tell(event, "mei")

    genauth.forget_calls()
    assert all(status in {401, 403} for status in workers.statuses(headers))
    assert genauth.calls(INTROSPECTED) == (2 if workers.opaque else 0)
    genauth.forget_calls()
    assert workers.statuses(other) == [200, 200]
    assert genauth.calls() == 0, "nobody else is asked about"


@pytest.mark.parametrize("event", ["kick", "user:deleted"])
def test_while_genauth_is_away_nothing_is_served_to_who_was_signed_out(workers, genauth, event):
    headers, other = workers.warm("mei"), workers.warm("omar")
    SIGNED_OUT[event](genauth, "mei")
    workers.tell(event, "mei")
    genauth.trouble(status=503)

    assert workers.statuses(headers) == [503, 503]
    workers.travel(200)
    assert workers.statuses(headers) == [503, 503]
    assert workers.statuses(other) == [200, 200]


def test_a_smaller_event_does_not_let_in_again_who_was_signed_out(workers, genauth):
    phone, laptop = workers.warm("mei"), workers.warm("mei")
    genauth.kick("mei")
    workers.tell("kick", "mei")
    workers.tell("user:updated", "mei")

    assert workers.statuses(phone) == [401, 401]
    genauth.trouble(status=503)
    assert workers.statuses(laptop) == [503, 503]


def test_who_was_signed_out_signs_in_again_at_once(workers, genauth):
    lost = workers.warm("mei")
    genauth.kick("mei")
    workers.tell("kick", "mei")

    new = workers.sign_in("mei")
    assert workers.statuses(new) == [200, 200]
    workers.travel(2)  # within the second of an event nothing is kept
    assert workers.statuses(new) == [200, 200]
    assert workers.statuses(lost) == [401, 401], "the accounts that are kept by now are not for this session"


def test_what_stands_in_for_genauth_is_for_who_signed_in_again_alone(workers, genauth):
    lost = workers.warm("mei")
    genauth.kick("mei")
    workers.tell("kick", "mei")
    workers.travel(2)
    new = workers.warm("mei")
    genauth.trouble(status=503)

    for seconds in (2, 290, 700):
        workers.travel(seconds)
        assert workers.statuses(new) == [200, 200]
        assert workers.statuses(lost) == [503, 503]


@pytest.mark.parametrize("event", CHANGED)
def test_whom_genauth_lets_in_again_is_served_at_once(workers, genauth, event):
    headers = workers.warm("mei")
    genauth.block("mei")
    workers.tell("user:blocked", "mei")
    workers.travel(2)  # within the second of an event it is asked about anyway
    assert all(status in {401, 403} for status in workers.statuses(headers))
    genauth.unblock("mei")
    assert all(status in {401, 403} for status in workers.statuses(headers)), "remembered, until it is told"

    workers.tell(event, "mei")

    assert workers.statuses(headers) == [200, 200]


def test_an_inactive_token_is_asked_about_again_when_its_person_is_let_in_again(workers, genauth):
    headers = workers.warm("mei")
    genauth.answers_raw(INTROSPECTED, body=b'{"active": false}')
    genauth.block("mei")
    workers.tell("user:blocked", "mei")
    assert all(status in {401, 403} for status in workers.statuses(headers))
    genauth.healthy()
    genauth.unblock("mei")

    workers.tell("user:unblocked", "mei")

    assert workers.statuses(headers) == [200, 200]


def test_a_change_shows_at_once_and_signs_nobody_out(workers, genauth):
    headers = workers.warm("mei")
    for number, event in enumerate(["user:link-account", *CHANGED], start=1):
        (genauth.unlink if number % 2 else genauth.link)("mei", "my-wechat-pc")
        genauth.forget_calls()

        workers.tell(event, "mei", user={"id": genauth.id_of("mei")})
        workers.travel(2 * number)  # within the second of an event nothing is kept

        assert workers.totals(headers) == [1 + (number + 1) % 2] * 2, event
        assert genauth.calls(ASKED) == 1, event
        assert genauth.calls(INTROSPECTED) == 0, event


def test_what_was_under_way_when_somebody_was_signed_out_is_kept_by_nobody(workers, genauth):
    headers, answers = workers.sign_in("mei"), []
    for path in (ASKED, INTROSPECTED):
        genauth.trouble(path=path, latency=0.2)
    early = threading.Thread(target=lambda: answers.append(workers.statuses(headers)))
    early.start()
    assert eventually(lambda: genauth.calls(ASKED) or genauth.calls(INTROSPECTED))
    genauth.kick("mei")

    workers.tell("kick", "mei")
    early.join(10)
    genauth.healthy()

    assert workers.statuses(headers) == [401, 401]


def test_who_was_signed_out_while_a_worker_heard_nothing_is_asked_about_when_it_hears_again(workers, genauth, stored):
    headers = workers.warm("mei")
    stored.execute_command("ACL", "SETUSER", "default", "-subscribe")
    try:
        stored.client_kill_filter(_type="pubsub")
        assert eventually(lambda: not any(workers.connected))
        assert workers.statuses(headers) == [200, 200]
        genauth.kick("mei")
        workers.tell("kick", "mei", heard=False)
    finally:
        stored.execute_command("ACL", "SETUSER", "default", "+subscribe")
    assert eventually(lambda: all(workers.connected))
    genauth.forget_calls()

    assert workers.statuses(headers) == [401, 401]
    if workers.opaque:
        assert genauth.calls(INTROSPECTED) == 2, "both asked, not only who saw the event"
