"""Promise 11: after the answer to an event of GenAuth's nobody sees what was before; what changed is an event for others."""

import asyncio
import shutil
import subprocess
import time
from collections import Counter
from contextlib import ExitStack, contextmanager

from bff.sandbox import sources
from tests.drills.change_drills import GITHUB, WECHAT
from tests.drills.drill import FULL, Outcome, drill, percentile
from tests.drills.load import Answer, Connection, Steady
from tests.drills.stage import Stage, later
from tests.drills.wrk import SCRIPT

GOOGLE = sources.GOOGLE.id
SECRET = "drill-webhook-secret"
# All that could make an answer old: the longest that anything is believed.
REMEMBERING = {
    "WEBHOOK_SECRET": SECRET,
    "LOCAL_CACHE_SECONDS": "300",
    "CACHE_TTL_SECONDS": "3600",
    "TOKEN_ACCEPTED_SECONDS": "300",
}
AT_ONCE = 40
REFUSED = ("token_invalid", "user_blocked")
CHANGED = ("user:updated", "user:udv-changed", "user:email-verified", "user:password-changed", "user:unarchived")


def listen(stage, instance=0, **how):
    """GenAuth sends its events to that instance from now on."""
    url = f"{stage.services[instance].url}/webhooks/genauth"
    stage.sandbox("POST", "webhook", {"url": url, "secret": SECRET, **how})


def event(stage, name, *callers):
    stage.sandbox("POST", "event", {"event": name, "people": [caller.person for caller in callers]})


def unlink_elsewhere(stage, caller):
    """Of which GenAuth sends no event."""
    stage.sandbox("POST", "unlink", {"person": caller.person, "source": "my-github"})


async def at_once(stage, caller, count=AT_ONCE):
    """So many questions at the same moment, each on a connection of its own, over all workers of all instances."""
    connections = [Connection(stage.ports[number % len(stage.ports)]) for number in range(count)]
    begun = time.monotonic()
    try:
        said = await asyncio.gather(*(each.fetch(caller) for each in connections))
    finally:
        for each in connections:
            each.close()
    seconds = time.monotonic() - begun
    return [(status, body, Answer(begun, seconds, status, f"{status} {body.get('code', '')}".strip())) for status, body in said]


def shows(status, body):
    """What an answer says: the ids of a list, or the code of a refusal."""
    return {account["id"] for account in body["linkedAccounts"]} if status == 200 else body["code"]


async def others_than(expected, stage, caller, outcome):
    """What forty answers show instead, counted; ``REFUSED`` is any refusal."""
    found = Counter()
    for status, body, answer in await at_once(stage, caller):
        outcome.answers.append(answer)
        shown = shows(status, body)
        if shown != expected and not (expected is REFUSED and shown in REFUSED):
            found[str(shown)] += 1
    return found


@contextmanager
def busy(stage, size):
    """Both instances have as much to do as they can; nothing at the small size, or without wrk."""
    with ExitStack() as kept:
        if size is FULL and shutil.which("wrk"):
            others = stage.callers(9000, 50)
            people = stage.folder / "people"
            people.write_text("".join(f"vi_32/{caller.number:012x}/132 {caller.token}\n" for caller in others))
            for port in stage.ports:
                command = [
                    "wrk",
                    "-t1",
                    "-c16",
                    "-d3600s",
                    "-s",
                    str(SCRIPT),
                    f"http://127.0.0.1:{port}",
                    "--",
                    str(people),
                ]
                load = subprocess.Popen(command, stdout=subprocess.DEVNULL)
                kept.callback(load.wait)
                kept.callback(load.kill)
        yield


# What an event does -------------------------------------------------------------------------------------------------------


def linked(stage, caller):
    stage.sandbox("POST", "link", {"person": caller.person, "source": "my-google"})
    return {GITHUB, WECHAT, GOOGLE}


def changed(name):
    def act(stage, caller):
        unlink_elsewhere(stage, caller)
        event(stage, name, caller)
        return {WECHAT}

    return act


def archived(stage, caller):
    stage.sandbox("POST", "revoke", {"token": caller.token})
    event(stage, "user:archived", caller)
    return REFUSED


def kicked(stage, caller):
    stage.sandbox("POST", "kick", {"person": caller.person})
    return REFUSED


def blocked(stage, caller):
    stage.sandbox("POST", "block", {"person": caller.person, "api_code": 2005})
    return REFUSED


def deleted(stage, caller):
    stage.sandbox("POST", "block", {"person": caller.person, "api_code": 2004})
    return REFUSED


def unblocked(stage, caller):
    """Of somebody whom every worker has just seen refused."""
    stage.sandbox("POST", "unblock", {"person": caller.person})
    return {GITHUB, WECHAT}


ACTS = {
    "user:link-account": linked,
    **{name: changed(name) for name in CHANGED},
    "user:archived": archived,
    "kick": kicked,
    "user:blocked": blocked,
    "user:deleted": deleted,
    "user:unblocked": unblocked,
}


@drill("event-everywhere", "11")
async def everywhere(size):
    """After the answer to each of GenAuth's events forty questions at once see what is so now, on every worker."""
    return await through_events(size, "signed tokens")


@drill("event-everywhere-opaque", "11")
async def everywhere_opaque(size):
    """The same with tokens that GenAuth is asked about."""
    return await through_events(size, "opaque tokens", kind="opaque", TOKEN_VERIFICATION="introspection")


async def through_events(size, about, *, kind="access", **settings):
    rounds = 20 if size is FULL else 1
    outcome = Outcome(f"GenAuth's events, {about}", f"{len(ACTS)} events, {rounds} rounds, 40 at once, 2 workers x 2 instances")
    old = Counter()
    took = []
    with Stage(instances=2, wired=False, **REMEMBERING, **settings) as stage, busy(stage, size):
        number = 1
        for round_ in range(rounds):
            listen(stage, round_ % 2)
            for name, act in ACTS.items():
                caller = stage.caller(number, kind=kind)
                number += 1
                for _ in range(2):
                    await at_once(stage, caller)
                if name == "user:unblocked":
                    blocked(stage, caller)
                    await at_once(stage, caller)
                begun = time.monotonic()
                expected = await later(act, stage, caller)
                took.append(time.monotonic() - begun)
                for shown, count in (await others_than(expected, stage, caller, outcome)).items():
                    old[f"{name}: {shown}"] += count
        deliveries = stage.sandbox("GET", "deliveries")
    outcome.figures.append(
        f"a change and the answer to its event: p50 {percentile(took, 50) * 1000:.0f} ms, worst {max(took):.2f} s"
    )
    tries = [each["statuses"] for each in deliveries]
    outcome.figures.append(f"{sum(len(each) > 1 for each in tries)} of {len(tries)} events were sent again after a 503")
    outcome.claim("every event is taken", all(each[-1] == 204 and set(each[:-1]) <= {503} for each in tries))
    outcome.claim("no answer shows what was before", not old, dict(old) or "")
    return outcome


@drill("event-burst", "11")
async def burst(size):
    """A thousand events as fast as they are taken, beside people whose answers are remembered."""
    events, seconds = (1000, 10.0) if size is FULL else (60, 1.5)
    with Stage(instances=2, wired=False, **REMEMBERING) as stage:
        known, others = stage.callers(1, 20), [f"user-{number}" for number in range(5000, 5000 + events)]
        await stage.warm(known)
        listen(stage)
        load = Steady()
        load.people(stage.ports, known, every=0.05)
        marks = [time.monotonic()]
        await asyncio.sleep(seconds)
        # What sending and receiving them costs on this machine, beside what they do.
        for name in ("user:unheard-of", "user:updated"):
            marks.append(time.monotonic())
            await later(stage.sandbox, "POST", "event", {"event": name, "people": others})
        marks.append(time.monotonic())
        answers = await load.over()
        deliveries = stage.sandbox("GET", "deliveries")
    outcome = Outcome("a burst of events", f"{events} events; 20 people, 20/s each, 2 workers x 2 instances", answers)
    found = {}
    for name, begun, ended in zip(("alone", "beside others", "beside these"), marks, marks[1:], strict=False):
        seconds = [answer.seconds for answer in answers if begun <= answer.begun < ended]
        found[name] = percentile(seconds, 99)
        outcome.figures.append(f"hits {name}: p50 {percentile(seconds, 50) * 1000:.1f} ms, p99 {found[name] * 1000:.1f} ms")
    outcome.figures.append(f"{events / (marks[3] - marks[2]):.0f} events/s")
    statuses = Counter(tuple(each["statuses"]) for each in deliveries)
    outcome.claim("each is answered at the first try", statuses == {(202,): events, (204,): events}, dict(statuses))
    times = found["beside these"] / found["alone"]
    outcome.claim("hits' p99 within 1.5 times of that without events", times <= 1.5, f"{times:.2f}")
    outcome.claim("nobody asks GenAuth anew", {answer.source for answer in answers} == {"hit"})
    outcome.no_wrong_answer()
    return outcome
