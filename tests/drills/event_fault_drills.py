"""Promise 11 while things break: Redis frozen around an event, an instance killed between a change and its answer."""

import asyncio
import base64
import json
import random
import threading
from collections import Counter

import requests

from tests.drills.change_drills import GITHUB, SETTINGS, UNLINK, WECHAT, at_genauth, remove
from tests.drills.drill import FULL, Outcome, drill
from tests.drills.event_drills import GOOGLE, REMEMBERING, at_once, changed, event, kicked, listen, others_than
from tests.drills.stage import IDENTITIES, Stage, kill_all, later
from tests.server.service import eventually

STREAM = "la:events"
ACTS = {"user:updated": changed("user:updated"), "kick": kicked}
MOMENTS = ("before", "within", "after")


def user_id(caller):
    payload = caller.token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]


def events_of(stage):
    """How often each event is in the stream, by name, person and source."""
    entries = stage.redis_cli("XRANGE", STREAM, "-", "+") or ()
    found = [{key.decode(): value.decode() for key, value in dict(fields).items()} for _, fields in entries]
    return Counter((each["event"], each["userId"], each["sourceId"]) for each in found)


# Redis --------------------------------------------------------------------------------------------------------------------


@drill("event-redis-frozen", "6, 11")
async def redis_frozen(size):
    """Redis is frozen before an event, while it is taken, and after its answer: what was answered is so, frozen or thawed."""
    rounds = 8 if size is FULL else 1
    outcome = Outcome("Redis: SIGSTOP before, within and after an event", f"{rounds} rounds of 2 events, 2 workers x 2 instances")
    answered, old = Counter(), Counter()
    with Stage(instances=2, wired=False, **REMEMBERING) as stage:
        listen(stage, attempts=1)
        cases = [(moment, name) for _ in range(rounds) for moment in MOMENTS for name in ACTS]
        for number, (moment, name) in enumerate(cases, 1):
            caller = stage.caller(number)
            for _ in range(2):
                await at_once(stage, caller)
            try:
                freezing = threading.Timer(random.uniform(0.002, 0.02), stage.valkey.freeze)
                if moment == "before":
                    stage.valkey.freeze()
                if moment == "within":
                    freezing.start()
                expected = await later(ACTS[name], stage, caller)
                if moment == "within":
                    freezing.join()
                stage.valkey.freeze()
                (status,) = stage.sandbox("GET", "deliveries")[0]["statuses"]
                answered[moment, status] += 1
                if status == 204:
                    old[moment, name, "frozen"] += (await others_than(expected, stage, caller, outcome)).total()
            finally:
                stage.valkey.thaw()
            await asyncio.sleep(1.5)  # the breaker's probe
            if status != 204:
                event(stage, name, caller)  # as GenAuth does after a 503
                (again,) = stage.sandbox("GET", "deliveries")[0]["statuses"]
                answered["again", again] += 1
            old[moment, name, "thawed"] += (await others_than(expected, stage, caller, outcome)).total()
    allowed = {("before", 503), ("within", 204), ("within", 503), ("after", 204), ("again", 204)}
    outcome.figures.append(", ".join(f"{moment}: {status} {count} times" for (moment, status), count in answered.items()))
    outcome.claim("an event is taken, or to be sent again", set(answered) <= allowed)
    old = {" ".join(case): count for case, count in old.items() if count}
    outcome.claim("nobody sees what was before an event that was taken", not old, old or "")
    return outcome


# Killed -------------------------------------------------------------------------------------------------------------------


async def again(stage):
    """The first instance, which was killed with all its workers, is started anew."""
    killed = stage.services[0]
    killed.process.wait()
    await later(eventually, lambda: not killed.family(), within=10)
    stage.services[0] = stage.start_service(PORT=str(stage.ports[0]))
    await later(eventually, stage.services[0].is_ready, within=30)
    stage.services[0].family()  # seen now, waited for when it is killed itself


@drill("unlink-killed", "10, 11")
async def unlink_killed(size):
    """An instance is killed at any moment of many unlinks: each that was answered is an event, and each event happened, once."""
    rounds, people = (5, 16) if size is FULL else (1, 8)
    outcome = Outcome(
        "SIGKILL to an instance within unlinks", f"{rounds} rounds of {people} people at once, 2 workers x 2 instances"
    )
    with Stage(instances=2, wired=False, EVENTS_STREAM=STREAM, **SETTINGS) as stage:
        stage.trouble(path=UNLINK, latency=0.03)
        stage.trouble(path=IDENTITIES, latency=0.02)
        answers = {}
        for round_ in range(rounds):
            callers = stage.callers(100 + round_ * people, people)
            asking = [asyncio.create_task(later(unlinked, stage, caller)) for caller in callers]
            await asyncio.sleep(random.uniform(0.03, 0.25))
            kill_all(stage.services[0])
            answers |= dict(zip(callers, await asyncio.gather(*asking), strict=True))
            await again(stage)
        events = events_of(stage)
        gone = {caller: GITHUB not in at_genauth(stage, caller) for caller in answers}
        count = {caller: events["linked_account.unlinked", user_id(caller), GITHUB] for caller in answers}
        done = [caller for caller, status in answers.items() if status == 200]
        outcome.claim("each that was answered is an event", all(count[caller] == 1 for caller in done), f"{len(done)} answered")
        untrue = [caller.person for caller in answers if count[caller] and not gone[caller]]
        outcome.claim("each event happened", not untrue, f"{sum(events.values())} events")
        outcome.claim("once", max(events.values(), default=0) <= 1)
        # Removed, and nobody was there any more to say so: whoever changes something next finds it.
        left = [caller for caller in answers if gone[caller] and not count[caller]]
        await asyncio.sleep(8)  # the locks of those that were killed
        await asyncio.gather(*(later(unlinked, stage, caller, WECHAT, 1) for caller in left))
        events = events_of(stage)
        found = [caller for caller in left if events["linked_account.unlinked", user_id(caller), GITHUB] == 1]
        outcome.claim("what nobody answered is one with the next change", len(found) == len(left), f"{len(found)} of {len(left)}")
        outcome.figures.append(f"answered {len(done)}, cut off {sum(not status for status in answers.values())}")
    return outcome


def unlinked(stage, caller, account=GITHUB, instance=0):
    """The status of the answer, 0 for none."""
    try:
        return remove(stage.ports[instance], caller, account).status
    except requests.RequestException:
        return 0


@drill("event-killed", "11")
async def event_killed(size):
    """An instance is killed while it takes the event of a link: sent again, it is in the stream once."""
    rounds = 15 if size is FULL else 2
    outcome = Outcome("SIGKILL to an instance within events", f"{rounds} links elsewhere, 2 workers x 2 instances")
    with Stage(instances=2, wired=False, EVENTS_STREAM=STREAM, **REMEMBERING) as stage:
        listen(stage, attempts=100, retry_seconds=0.1)
        callers = stage.callers(1, rounds)
        old = Counter()
        for caller in callers:
            for _ in range(2):
                await at_once(stage, caller)
            linking = asyncio.create_task(later(stage.sandbox, "POST", "link", {"person": caller.person, "source": "my-google"}))
            await asyncio.sleep(random.uniform(0.001, 0.01))
            kill_all(stage.services[0])
            await again(stage)
            await linking
            old += await others_than({GITHUB, WECHAT, GOOGLE}, stage, caller, outcome)
        deliveries = stage.sandbox("GET", "deliveries")
        events = events_of(stage)
    tries = [len(each["statuses"]) for each in deliveries]
    outcome.figures.append(f"{sum(each > 1 for each in tries)} of {rounds} were sent again")
    outcome.claim("each is taken in the end", all(each["statuses"][-1] == 204 for each in deliveries))
    outcome.claim("each is an event, once", all(events["linked_account.linked", user_id(each), GOOGLE] == 1 for each in callers))
    outcome.claim("and nothing else is", sum(events.values()) == rounds, sum(events.values()))
    outcome.claim("nobody sees what was before", not old, dict(old) or "")
    return outcome
