"""Promise 10: a change is never claimed that was not made, nor denied that was; nobody loses the last way to sign in."""

import asyncio
import statistics
import threading
import time
from dataclasses import dataclass

import requests

from bff.sandbox import sources
from tests.drills.drill import FULL, Outcome, drill
from tests.drills.load import Answer, expected
from tests.drills.stage import IDENTITIES, Stage, later
from tests.server.service import eventually

LIST, UNLINK = "/me/linked-accounts", "/api/v3/unlink-extidp"
GITHUB, WECHAT = sources.GITHUB.id, sources.WECHAT.id
SETTINGS = {"CHANGE_RATE_LIMIT": "off", "UPSTREAM_DEADLINE_SECONDS": "1", "CHANGE_DEADLINE_SECONDS": "5"}
WORKERS = 2


@dataclass
class Said:
    """What one request was answered with."""

    status: int
    body: dict
    answer: Answer

    @property
    def ids(self):
        return {account["id"] for account in self.body.get("linkedAccounts", ())}

    @property
    def code(self):
        return self.body.get("code", "")

    def names(self):
        return {account["displayName"] for account in self.body["linkedAccounts"]}


def ask(port, caller, method="GET", path=LIST, client=None):
    """One request; without a ``client`` over a connection of its own, so that any worker may get it."""
    begun = time.monotonic()
    headers = {"Authorization": f"Bearer {caller.token}"}
    response = (client or requests).request(method, f"http://127.0.0.1:{port}{path}", headers=headers, timeout=20)
    body = response.json()
    source = f"{method} {response.status_code} {body.get('code', '')}".strip()
    return Said(response.status_code, body, Answer(begun, time.monotonic() - begun, response.status_code, source))


def remove(port, caller, account, client=None):
    return ask(port, caller, "DELETE", f"{LIST}/{account}", client)


def everywhere(stage, caller, times=4 * WORKERS):
    """The list as the workers of all instances have it."""
    return [ask(port, caller) for port in stage.ports for _ in range(times)]


def at_genauth(stage, caller):
    """What is linked, past the service and every wire."""
    response = requests.get(f"{stage.genauth_url}{IDENTITIES}", headers={"Authorization": f"Bearer {caller.token}"}, timeout=10)
    return {row["extIdpId"] for row in response.json()["data"]}


def asked(stage, path):
    return stage.sandbox("GET", "calls")["paths"].get(path, 0)


def when(stage, path, times, act):
    """A thread that does something once GenAuth was asked so often, from now on."""
    before = asked(stage, path)

    def watch():
        eventually(lambda: asked(stage, path) >= before + times, within=10)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


def true(said, still_there):
    """Whether an answer to a change is so: done, not done, or that nobody knows."""
    if said.status == 200:
        return not still_there
    return said.code == "change_unconfirmed" or still_there


# Redis ----------------------------------------------------------------------------------------------------------------

# Where a change is when Redis freezes: what GenAuth is slow at, and the how-manieth of these calls it is.
STEPS = {
    "before it begins": None,
    "while the list is asked for": (IDENTITIES, 1),
    "while GenAuth removes": (UNLINK, 1),
    "while the list is read back": (IDENTITIES, 2),
}


@drill("unlink-redis-frozen", "6, 10")
async def redis_frozen(_size):
    """Redis is frozen at each step of an unlink, and thawed later: every answer is true, and the next question agrees."""
    outcome = Outcome("Redis: SIGSTOP at each step of an unlink", "1 person, 2 workers x 2 instances")
    with Stage(instances=2, wired=False, **SETTINGS) as stage:
        for number, (step, slow) in enumerate(STEPS.items()):
            caller = stage.caller(100 + number)
            for said in await later(everywhere, stage, caller):
                outcome.answers.append(said.answer)
            stage.healthy()
            if slow is None:
                stage.valkey.freeze()
                freezing = None
            else:
                path, times = slow
                stage.trouble(path=path, person=caller.person, latency=0.5)
                freezing = when(stage, path, times, stage.valkey.freeze)
            said = await later(remove, stage.ports[0], caller, GITHUB)
            if freezing:
                freezing.join()
            stage.healthy()
            still_there = GITHUB in at_genauth(stage, caller)
            frozen = await later(everywhere, stage, caller)
            stage.valkey.thaw()
            await asyncio.sleep(1.5)  # the breaker's probe
            thawed = await later(everywhere, stage, caller)
            outcome.answers += [each.answer for each in (said, *frozen, *thawed)]
            outcome.claim(f"{step}: the answer is true", true(said, still_there), f"{said.status} {said.code}")
            for state, answers in (("frozen", frozen), ("thawed", thawed)):
                agree = all(each.status == 200 and (GITHUB in each.ids) == still_there for each in answers)
                outcome.claim(f"{step}: the next questions agree, with Redis {state}", agree)
    return outcome


# GenAuth --------------------------------------------------------------------------------------------------------------


@drill("unlink-genauth", "5, 10")
async def genauth_fails(_size):
    """GenAuth times out before it removes and after, and dies between the removal and the read-back."""
    outcome = Outcome("GenAuth: too slow before and after it unlinks; gone before the list is read back", "1 person each")
    with Stage(instances=2, **SETTINGS) as stage:
        before, after, between = stage.callers(200, 3)
        for caller in (before, after, between):
            outcome.answers += [each.answer for each in await later(everywhere, stage, caller)]

        stage.trouble(path=UNLINK, person=before.person, delay=2.5)
        said = await later(remove, stage.ports[0], before, GITHUB)
        outcome.claim("too slow before: unconfirmed", said.code == "change_unconfirmed", said.status)
        shown = await later(everywhere, stage, before)
        outcome.claim("… and still shown", all(GITHUB in each.ids for each in shown))
        await later(eventually, lambda: GITHUB not in at_genauth(stage, before), within=10)
        shown += (gone := await later(everywhere, stage, before))
        outcome.claim("… until it is gone, which no cache hides", all(GITHUB not in each.ids for each in gone))
        outcome.answers += [each.answer for each in (said, *shown)]

        stage.trouble(path=UNLINK, person=after.person, latency=2.5)
        said = await later(remove, stage.ports[0], after, GITHUB)
        outcome.claim("too slow afterwards: done", said.status == 200 and GITHUB not in said.ids, said.status)
        shown = await later(everywhere, stage, after)
        outcome.claim("… and everybody knows", all(GITHUB not in each.ids for each in shown))
        outcome.answers += [each.answer for each in (said, *shown)]

        stage.trouble(path=UNLINK, person=between.person, latency=0.4)
        # The removal's answer still comes; after that nobody listens.
        dying = when(stage, UNLINK, 1, lambda: stage.trouble(path=IDENTITIES, status=503))
        said = await later(remove, stage.ports[0], between, GITHUB)
        dying.join()
        outcome.claim("dies in between: unconfirmed", said.code == "change_unconfirmed", said.status)
        shown = await later(everywhere, stage, between)
        outcome.claim("… and nothing old is served", all(each.status == 503 for each in shown))
        outcome.answers += [each.answer for each in (said, *shown)]
        stage.healthy()
        await asyncio.sleep(6)  # the breaker opens for a while
        shown = await later(everywhere, stage, between)
        outcome.claim("… it is gone when GenAuth is back", all(each.status == 200 and GITHUB not in each.ids for each in shown))
        outcome.answers += [each.answer for each in shown]
        outcome.upstream = asked(stage, UNLINK)
        outcome.claim("each was sent once", outcome.upstream == 3, outcome.upstream)
    return outcome


# Several at once ------------------------------------------------------------------------------------------------------


@drill("unlink-race", "10")
async def race(size):
    """Two tabs take away the last two accounts at once, at two replicas, again and again: one always stays."""
    rounds = 200 if size is FULL else 20
    outcome = Outcome("two unlinks at once", f"{rounds} rounds, 2 workers x 2 instances")
    # GenAuth's own rule would let both go: these people have a password there.
    with Stage(instances=2, wired=False, SIGN_IN_METHODS="none", **SETTINGS) as stage:
        callers = stage.callers(1000, rounds)
        lost, odd = [], []
        for caller in callers:
            both = await asyncio.gather(
                *(later(remove, port, caller, each) for port, each in zip(stage.ports, (GITHUB, WECHAT), strict=True))
            )
            outcome.answers += [each.answer for each in both]
            if len(at_genauth(stage, caller)) != 1:
                lost.append(caller.person)
            if sorted(each.code for each in both) != ["", "last_login_method"]:
                odd.append([(each.status, each.code) for each in both])
        outcome.upstream = asked(stage, UNLINK)
        outcome.claim("never both", not lost, f"{len(lost)} of {rounds}")
        outcome.claim("one was done, one was the last", not odd, odd[:3] or "")
        outcome.claim("one removal a round", outcome.upstream == rounds, outcome.upstream)
    return outcome


@drill("unlink-crowd", "2, 10")
async def crowd(size):
    """Fifty people unlink at once, and ask at once: everybody sees their own accounts, and every answer agrees."""
    people = 50 if size is FULL else 12
    outcome = Outcome("many change at once", f"{people} people, each a DELETE and three GETs, 2 workers x 2 instances")
    with Stage(instances=2, wired=False, **SETTINGS) as stage:
        callers = stage.callers(3000, people)
        ports = [stage.ports[n % 2] for n in range(people)]
        removals = [later(remove, port, caller, GITHUB) for port, caller in zip(ports, callers, strict=True)]
        reads = [later(ask, port, caller) for port, caller in zip(stage.ports * people, callers * 2, strict=False)]
        said = await asyncio.gather(*removals, *reads)
        last = await asyncio.gather(*(later(ask, port, caller) for port, caller in zip(reversed(ports), callers, strict=True)))
        outcome.answers += [each.answer for each in (*said, *last)]
        outcome.claim("all done", all(each.status == 200 for each in said[:people]), str({each.status for each in said}))
        strange = [
            caller.person
            for caller, each in zip((*callers, *callers, *callers, *callers), (*said, *last), strict=False)
            if each.status == 200 and not each.names() <= {name for _, name, _, _ in expected(caller.number)}
        ]
        outcome.claim("nobody sees another's", not strange, strange[:3])
        outcome.claim("every later answer agrees", all(each.ids == {WECHAT} for each in last))
    return outcome


@drill("unlink-overhead", "10")
async def overhead(size):
    """How long a DELETE takes beside the three calls to GenAuth that it makes."""
    people = 100 if size is FULL else 20
    outcome = Outcome("none", f"{people} DELETEs one after the other, GenAuth without latency")
    with Stage(wired=False, **{**SETTINGS, "WEB_CONCURRENCY": "1"}) as stage, requests.Session() as client:
        for caller in stage.callers(5000, 8):
            remove(stage.ports[0], caller, GITHUB, client)
        ours, theirs = [], []
        for caller in stage.callers(6000, people):
            said = remove(stage.ports[0], caller, GITHUB, client)
            ours.append(said.answer.seconds)
            outcome.answers.append(said.answer)
            theirs.append(three_calls(stage, caller, client))
        outcome.upstream = asked(stage, UNLINK)
    own = statistics.median(ours) - statistics.median(theirs)
    outcome.figures.append(
        f"p50: {statistics.median(ours) * 1000:.1f} ms, GenAuth's three calls {statistics.median(theirs) * 1000:.1f} ms"
    )
    outcome.claim("own p50 within 15 ms", own <= 0.015, f"{own * 1000:.1f} ms")
    return outcome


def three_calls(stage, caller, client):
    """The same calls made directly, the removal over a connection of its own: seconds."""
    headers = {"Authorization": f"Bearer {caller.token}"}
    begun = time.monotonic()
    client.get(f"{stage.genauth_url}{IDENTITIES}", headers=headers, timeout=10)
    requests.post(f"{stage.genauth_url}{UNLINK}", json={"extIdpId": "none"}, headers=headers, timeout=10)
    client.get(f"{stage.genauth_url}{IDENTITIES}", headers=headers, timeout=10)
    return time.monotonic() - begun
