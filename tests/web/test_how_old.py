"""README, "How old a list can be": each row of its table is shown here, over two replicas that answer from memory."""

import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bff.sandbox import sources
from bff.web import services_of
from tests.web.linking import SETTINGS, Person, come_back, decide

PATH = "/me/linked-accounts"
GOOGLE, GITHUB = sources.GOOGLE.id, sources.GITHUB.id
README = (Path(__file__).parents[2] / "README.md").read_text()
SECRET = "secret-of-the-webhook-5c1d"
KEPT_LONG = SETTINGS | {"LOCAL_CACHE_SECONDS": "300", "TOKEN_ACCEPTED_SECONDS": "300", "CACHE_TTL_SECONDS": "300"}
_TABLE = README.partition("## How old a list can be")[2].partition("\n## ")[0]
ROWS = [line.split(" | ")[0].removeprefix("| ") for line in re.findall(r"(?m)^\|.*\|$", _TABLE)][2:]


@dataclass
class Omar:
    """Somebody with two accounts, whose list each of the ``replicas`` has in memory."""

    genauth: Any
    replicas: list
    headers: dict

    def ask(self, query=""):
        """An answer of each replica."""
        return [app.test_client(use_cookies=False).get(PATH + query, headers=self.headers) for app in self.replicas]

    def sees(self, *expected, query=""):
        """Whether that is the list on every replica, once what was published has arrived there."""
        eventually(lambda: all(ids(each.json) == list(expected) for each in self.ask(query)), seconds=1.5)
        return True

    def code(self):
        """Why there is no list, on every replica."""
        first, second = (each.json["code"] for each in self.ask())
        assert first == second
        return first

    def event(self, name, **data):
        """GenAuth sends an event, which one of the replicas gets."""
        body, shown = {"eventName": name, "data": data}, {"X-Authing-Webhook-Secret": SECRET}
        client = self.replicas[0].test_client(use_cookies=False)
        assert client.post("/webhooks/genauth", json=body, headers=shown).status_code == 204

    def later(self, seconds):
        for app in self.replicas:
            app.extensions["clock"].by += seconds


@pytest.fixture
def omar(app_with, genauth, sign_in):
    made = []

    def make(**changed):
        made.extend(app_with(**KEPT_LONG | {"WEBHOOK_SECRET": SECRET} | changed) for _ in range(2))
        eventually(lambda: all(services_of(app).invalidations.connected for app in made))
        person = Omar(genauth, made, sign_in("omar"))
        for _ in range(2):
            assert person.sees(GITHUB, GOOGLE)
        return person

    yield make
    for seconds in (0, 5):  # all of them at once
        for app in made:
            services_of(app).invalidations.stop(wait_seconds=seconds)


def ids(body):
    return [account["id"] for account in body["linkedAccounts"]]


def eventually(truth, seconds=5.0):
    ends = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < ends, "it did not come true"
        time.sleep(0.01)


def unlinked_here(omar):
    omar = omar()
    client = omar.replicas[0].test_client(use_cookies=False)

    answer = client.delete(f"{PATH}/{GITHUB}", headers=omar.headers)

    assert ids(answer.json) == [GOOGLE]
    assert omar.sees(GOOGLE)


def linked_here(omar):
    omar = omar()
    person = Person(omar.replicas[0].test_client(use_cookies=False), omar.genauth, "omar")
    link = person.begin("my-qq").json
    come_back(person.client, *decide(link["url"]))

    outcome = person.outcome(link["state"]).json

    assert outcome["status"] == "linked"
    assert len(ids(outcome)) == 3
    assert omar.sees(*ids(outcome))


def changed_elsewhere_with_an_event(omar):
    omar = omar()
    omar.genauth.link("omar", "my-qq")

    omar.event("user:link-account", user={"id": omar.genauth.id_of("omar")})

    assert omar.sees(GITHUB, GOOGLE, sources.QQ.id)


def changed_elsewhere(omar):
    omar = omar(CACHE_TTL_SECONDS="60")

    omar.genauth.unlink("omar", "my-github")

    omar.later(50)
    assert omar.sees(GITHUB, GOOGLE), "for so long nobody looks, or this shows nothing"
    omar.later(17)
    assert omar.sees(GOOGLE)


def asked_to_be_fresh(omar):
    omar = omar()
    omar.genauth.unlink("omar", "my-github")
    omar.later(2)

    assert omar.sees(GOOGLE, query="?refresh=true")
    assert omar.sees(GOOGLE)


def signed_out_elsewhere_with_an_event(omar):
    omar = omar()
    for code, end, event in (("token_invalid", omar.genauth.kick, "kick"), ("user_blocked", omar.genauth.block, "user:blocked")):
        assert omar.sees(GITHUB, GOOGLE)
        end("omar")

        omar.event(event, users=[{"id": omar.genauth.id_of("omar")}])

        assert omar.code() == code
        omar.headers = {"Authorization": f"Bearer {omar.genauth.token('omar')}"}


def signed_out_elsewhere(omar):
    omar = omar(CACHE_TTL_SECONDS="3600", TOKEN_ACCEPTED_SECONDS="60")
    omar.genauth.revoke(omar.headers["Authorization"].removeprefix("Bearer "))

    omar.later(50)
    assert omar.sees(GITHUB, GOOGLE), "for so long it is believed, or this shows nothing"
    omar.later(11)
    assert omar.code() == "token_invalid"


def genauth_is_away(omar):
    omar = omar(CACHE_TTL_SECONDS="60", CACHE_STALE_SECONDS="3600")
    omar.genauth.unlink("omar", "my-github")
    omar.genauth.trouble(status=503)

    omar.later(3600)
    assert omar.sees(GITHUB, GOOGLE)
    assert {answer.json["meta"]["stale"] for answer in omar.ask()} == {True}
    omar.later(70)
    assert omar.code() == "upstream_unavailable"


SHOWN = {
    "an account was unlinked here": unlinked_here,
    "an account was linked here": linked_here,
    "something changed elsewhere, and GenAuth's event came": changed_elsewhere_with_an_event,
    "something changed elsewhere, without an event": changed_elsewhere,
    "the same, asked with `refresh=true`": asked_to_be_fresh,
    "the session was ended elsewhere, and GenAuth's event came": signed_out_elsewhere_with_an_event,
    "the session was ended elsewhere, without an event": signed_out_elsewhere,
    "GenAuth does not answer": genauth_is_away,
}


def test_every_row_is_shown():
    assert list(SHOWN) == ROWS


@pytest.mark.parametrize("row", SHOWN)
def test_a_list_is_no_older_than_the_readme_says(omar, row):
    SHOWN[row](omar)
