"""Promises 8 and 9: deploys, killed processes, clients that behave badly, and what a million requests leave behind."""

import asyncio
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import contextmanager, suppress

from tests.drills import wrk
from tests.drills.drill import Outcome, Picture, drill, percentile
from tests.drills.genauth_drills import DEADLINE, errors_of, hits
from tests.drills.load import Steady, burst
from tests.drills.stage import IDENTITIES, Stage, connect, kill_all, later, resident, send
from tests.server.service import eventually, session
from tests.valkey import free_port

# A million requests, or as many as this machine answers in so long.
MEMORY_SECONDS = 300
HALF_A_HEAD = b"GET /me/linked-accounts HTTP/1.1\r\nHost: drill\r\nX-Slow: "


@drill("slow-clients", "8")
async def slow_clients(size):
    """400 half-sent heads, 200 bodies that do not come and 100 readers that do not read: nobody else notices."""
    with Stage() as stage:
        port = stage.ports[0]
        known = stage.callers(100, 10)
        await stage.warm(known)
        before, _ = await hits(stage, known, size.during)
        slow = [connect(port) for _ in range(700)]
        for head in slow[:400]:
            head.sendall(HALF_A_HEAD)
        for body in slow[400:600]:
            body.sendall(
                b"POST /webhooks/genauth HTTP/1.1\r\nHost: drill\r\n"
                b'Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"eventName":'
            )
        ask = f"GET /me/linked-accounts HTTP/1.1\r\nHost: drill\r\nAuthorization: Bearer {known[0].token}\r\n\r\n".encode()
        for reader in slow[600:]:
            reader.sendall(ask * 3)
        await asyncio.sleep(1.0)  # those three hundred questions are answered by now, if not read
        load = asyncio.create_task(hits(stage, known, size.during))
        # A byte from each now and then, a few at a time: the drill's own clients share this loop.
        for begin in range(0, 600, 20):
            await asyncio.sleep(size.during / 35)
            for head in slow[begin : begin + 20]:
                with suppress(OSError):
                    head.send(b"x")
        during, lateness = await load
        strangers = await burst([port], stage.callers(2000, 50))
        for each in slow:
            each.close()
    outcome = Outcome(
        "400 half-sent heads, 200 dripping bodies, 100 clients that do not read",
        "10 people, 20/s each",
        before + during + strangers,
    )
    calm, disturbed = (percentile([answer.seconds for answer in answers], 99) for answers in (before, during))
    late = percentile(lateness, 99)
    outcome.figures = [
        f"p99 {calm * 1000:.1f} ms without them, {disturbed * 1000:.1f} ms with; the machine {late * 1000:.1f} ms late"
    ]
    outcome.claim("everybody else is answered", outcome.errors == 0, errors_of(outcome.answers))
    outcome.claim("p99 within 2x, or below 50 ms", disturbed <= max(2 * calm, 0.05 + 2 * late), f"{disturbed / calm:.2f}x")
    outcome.no_wrong_answer()
    return outcome


@drill("stopped", "9")
async def stopped(size):
    """SIGTERM while 40 requests wait for GenAuth: readiness goes, each of them is answered, exit 0 in time."""
    with Stage() as stage:
        service = stage.services[0]
        await stage.warm(stage.callers(900, 4))
        stage.trouble(path=IDENTITIES, latency=2.5)
        asking = asyncio.create_task(burst(stage.ports, stage.callers(100, 40)))
        await later(eventually, lambda: stage.calls() >= 40, within=5)
        asked = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        await later(eventually, lambda: service.readiness() == 503, within=1)
        unready = time.monotonic() - asked
        answers = await asking
        code = await later(service.process.wait, 30)
        took = time.monotonic() - asked
    outcome = Outcome("SIGTERM, GenAuth takes 2.5 s", "40 requests in flight", answers, stage.calls())
    outcome.claim("each is answered", outcome.errors == 0, errors_of(answers))
    outcome.claim("/readyz says 503 first", unready < 1, f"after {unready:.2f} s")
    outcome.claim(f"exit 0 within {DEADLINE + 2} s", code == 0 and took < DEADLINE + 2, f"{code} after {took:.1f} s")
    outcome.no_wrong_answer()
    return outcome


# Two replicas behind HAProxy ---------------------------------------------------------------------------

HAPROXY = """
global
  maxconn 4000
defaults
  mode http
  timeout connect 500ms
  timeout client 30s
  timeout server 10s
  timeout check 1s
  retries 3
  option redispatch
frontend front
  bind 127.0.0.1:{port}
  default_backend replicas
backend replicas
  balance roundrobin
  option httpchk GET /readyz
  http-check expect status 200
  default-server inter 200ms fall 1 rise 1
  server a 127.0.0.1:{first} check
  server b 127.0.0.1:{second} check
"""


class NotInstalled(Exception):
    """The load balancer is a Debian package: make system-packages."""


@contextmanager
def balanced(stage):
    """HAProxy before the two instances; its port."""
    binary = shutil.which("haproxy") or shutil.which("haproxy", path="/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise NotInstalled
    port = free_port()
    config = stage.folder / "haproxy.cfg"
    config.write_text(HAPROXY.format(port=port, first=stage.ports[0], second=stage.ports[1]))
    with (stage.folder / "haproxy.log").open("wb") as log:
        process = subprocess.Popen([binary, "-db", "-f", str(config)], stdout=log, stderr=log)
    try:
        eventually(lambda: answers_at(port), within=5)
        yield port
    finally:
        process.kill()
        process.wait()


def answers_at(port):
    try:
        with session() as http:
            return http.get(f"http://127.0.0.1:{port}/livez", timeout=1).status_code == 200
    except OSError:
        return False


@drill("rolling-restart", "9")
async def rolling_restart(size):
    """Two replicas behind HAProxy, replaced one after the other under load: not one request is lost."""
    with Stage(instances=2) as stage, balanced(stage) as port:
        known = stage.callers(100, size.known)
        await stage.warm(known)
        load = Steady()
        load.people([port], known, every=0.02)
        load.newcomers([port], stage.callers(5000, 400), every=0.1)
        await asyncio.sleep(size.before)
        spans = []
        for position, old in enumerate(list(stage.services)):
            begun = time.monotonic()
            code, _ = await later(old.end)
            successor = stage.start_service(PORT=str(old.port))
            stage.services[position] = successor
            await later(eventually, successor.is_ready, within=20)
            spans.append((begun, time.monotonic(), f"replica {position + 1} replaced, exit {code}"))
            await asyncio.sleep(1.0)
        answers = await load.over()
    outcome = Outcome(
        "both replicas restarted one after the other, behind HAProxy",
        f"{size.known} people, 50/s each; a stranger every 0.1 s",
        answers,
        stage.calls(),
        picture=Picture(spans[0][0], spans),
    )
    outcome.claim("nothing is lost", outcome.errors == 0, errors_of(answers))
    outcome.claim("each exits 0", all("exit 0" in name for _, _, name in spans))
    outcome.no_wrong_answer()
    return outcome


@drill("replica-killed", "9")
async def replica_killed(size):
    """One of two replicas behind HAProxy is killed outright: no error but on the connections that it held."""
    with Stage(instances=2) as stage, balanced(stage) as port:
        known = stage.callers(100, size.known)
        await stage.warm(known)
        load = Steady()
        load.people([port], known, every=0.02)
        await asyncio.sleep(size.before)
        killed = time.monotonic()
        kill_all(stage.services[0])
        await asyncio.sleep(size.during)
        answers = await load.over()
    outcome = Outcome(
        "SIGKILL to one of two replicas, behind HAProxy",
        f"{size.known} people, 50/s each",
        answers,
        stage.calls(),
        picture=Picture(killed, [(killed, killed, "SIGKILL")]),
    )
    after = [answer for answer in answers if answer.begun > killed + 0.5 and answer.status != 200]
    outcome.claim("errors: at most what it held", outcome.errors <= size.known, f"{outcome.errors}: {errors_of(answers)}")
    outcome.claim("none after half a second", not after, len(after))
    outcome.no_wrong_answer()
    return outcome


@drill("worker-killed", "9")
async def worker_killed(size):
    """One of two workers is killed outright: the other serves on, and the first is back within seconds."""
    with Stage() as stage:
        service = stage.services[0]
        known = stage.callers(100, size.known)
        await stage.warm(known)
        load = Steady()
        load.people(stage.ports, known, every=0.02)
        await asyncio.sleep(size.before)
        killed = time.monotonic()
        victim = service.workers()[0]
        send(signal.SIGKILL, victim)
        await later(eventually, lambda: len(service.workers()) == 2 and victim not in service.workers(), within=10)
        back = time.monotonic() - killed
        await asyncio.sleep(size.during)
        answers = await load.over()
    outcome = Outcome(
        "SIGKILL to one of two workers",
        f"{size.known} people, 50/s each",
        answers,
        stage.calls(),
        picture=Picture(killed, [(killed, killed + back, "a worker is missing")]),
    )
    late = [answer for answer in answers if answer.begun > killed + back + 1 and answer.status != 200]
    outcome.claim(
        "errors: at most the connections it held", outcome.errors <= size.known, f"{outcome.errors}: {errors_of(answers)}"
    )
    outcome.claim("a new one is there within 5 s", back < 5, f"{back:.1f} s")
    outcome.claim("no error once it is there", not late, errors_of(late))
    outcome.no_wrong_answer()
    return outcome


@drill("memory", "9")
async def memory(size):
    """What the workers hold after very many requests, against what they held after ten thousand."""
    with Stage(LOG_LEVEL="warning") as stage:
        callers = stage.callers(0, 1000)
        await stage.warm(callers)
        service = stage.services[0]
        begun = time.monotonic()
        answered = await later(wrk.ask, stage, callers, 10_000, within=60)
        early = resident(service.workers())
        more, course = Counter(), []
        while more.total() < size.memory_requests and time.monotonic() < begun + MEMORY_SECONDS:
            more += await later(wrk.ask, stage, callers, min(100_000, size.memory_requests - more.total()), within=30)
            held = resident(service.workers())
            course.append(f"{held / 1024:.0f}")
        took = time.monotonic() - begun
    total = sum(answered.values()) + sum(more.values())
    outcome = Outcome(f"{total:,} requests", f"64 connections, 1,000 people, {total / took:,.0f}/s", [], stage.calls())
    growth = held / early - 1
    outcome.figures = [f"workers hold {early / 1024:.0f} MB after 10,000 requests, then {', '.join(course)} MB"]
    outcome.claim("within 10 %", growth < 0.1, f"{early / 1024:.1f} MB, then {held / 1024:.1f} MB: {growth * 100:+.1f} %")
    outcome.claim("every answer right", set(answered) | set(more) == {"right"}, f"{dict(answered + more)}")
    return outcome
