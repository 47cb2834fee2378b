"""The use case over a real cache: what happens when something changes while GenAuth is being asked."""

import threading
import time

import pytest

from bff.accounts import LinkedAccounts, Providers, Refusals, Source
from bff.cache import CacheUnavailable
from bff.errors import TokenRefused, UpstreamRejected, UpstreamTimeout, UpstreamUnavailable, UserBlocked
from bff.genauth import CallNotMade, ExtIdps, Identities
from bff.models import Identity
from bff.resilience import Deadline, WaitingRoom
from bff.resilience.caches import DECLARED
from tests.cache.conftest import accounts, ids, session
from tests.timing import in_time
from tests.valkey import ValkeyServer

MEI = session()


class GenAuth:
    """Answers with one account, or fails as it is told; ``meanwhile`` is what happens while it is being asked."""

    def __init__(self):
        self.calls = 0
        self.lists = 0
        self.error = None
        self.meanwhile = lambda: None

    def raise_if_open(self, _whose):
        pass

    def identities(self, _token, _deadline, *, whose):
        assert whose
        self.calls += 1
        self.meanwhile()
        if self.error:
            raise self.error
        return Identities((Identity("identity", f"src-{self.calls}", "wechat", "openid"),), frozenset())

    def ext_idps(self, _token, _deadline):
        self.lists += 1
        return ExtIdps((), frozenset())


@pytest.fixture
def genauth():
    return GenAuth()


class Process:
    """What one process of the service has of its own."""

    def __init__(self, genauth, cache, witness, clock):
        self.cache = cache
        self.refusals = Refusals(8, clock)
        self._use_case = LinkedAccounts(
            genauth,
            cache,
            Providers(genauth, 1.0),
            self.refusals,
            witness,
            waiting_room=WaitingRoom(5),
            clock=clock,
        )

    def forget(self, user):
        try:
            self.cache.changes.forget(user, cause="webhook", wait=False)
        finally:
            self.hear(user)

    def hear(self, person, *, refusals=False):
        """Of a change that was made somewhere."""
        self._use_case.on_change(person)
        if refusals:
            self.refusals.forget(person)

    def miss_changes(self):
        self._use_case.on_missed_changes()

    def ask(self, who=MEI, *, refresh=False, seconds=5.0):
        return self._use_case.of(who, Deadline.after(seconds), refresh=refresh)

    def ask_now(self, who=MEI):
        return self._use_case.now(who, Deadline.after(5.0))


@pytest.fixture
def process(genauth, cache_on, store_at, valkey, witness, clock):
    """``process()``: another one, over the same Redis and the same GenAuth."""
    return lambda: Process(genauth, cache_on(store_at(valkey.url)), witness, clock)


@pytest.fixture
def outage(process, genauth, clock):
    """A process that could answer with what is stale, while GenAuth fails."""
    one = process()
    one.ask()
    clock.advance(90)
    genauth.error = UpstreamUnavailable()
    assert one.ask().source is Source.STALE, "or the tests below show nothing"
    clock.advance(5)
    return one


@pytest.mark.parametrize("refusal", [TokenRefused, UserBlocked])
def test_who_was_refused_meanwhile_in_this_process_is_served_nothing_stale(outage, genauth, refusal):
    genauth.meanwhile = lambda: outage.refusals.put(MEI, refusal())

    with pytest.raises(refusal):
        outage.ask()


@pytest.mark.parametrize("refusal", [TokenRefused, UserBlocked])
def test_who_was_refused_meanwhile_in_another_process_is_served_nothing_stale(outage, process, genauth, refusal):
    other = process()
    genauth.meanwhile = lambda: other.cache.put_refusal(MEI, refusal())

    with pytest.raises(refusal):
        outage.ask()


def test_whose_accounts_changed_meanwhile_is_served_nothing_stale(outage, process, genauth):
    other = process()
    genauth.meanwhile = lambda: other.cache.changes.forget("mei", cause="webhook", wait=False)

    with pytest.raises(UpstreamUnavailable):
        outage.ask()


def test_an_answer_asked_for_in_the_millisecond_of_a_change_is_not_served_again(process, genauth):
    one, other = process(), process()
    genauth.meanwhile = lambda: other.cache.changes.forget("mei", cause="webhook", wait=False)  # the clock stands still

    one.ask()
    genauth.meanwhile = lambda: None

    assert one.ask().source is Source.GENAUTH
    assert genauth.calls == 2


def test_what_another_process_brought_while_this_one_waited_is_taken_from_the_cache(process, genauth):
    one, other = process(), process()
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(other.ask()))

    def meanwhile():
        waiting.start()
        time.sleep(0.2)

    genauth.meanwhile = meanwhile
    first = one.ask()
    waiting.join()

    assert genauth.calls == 1
    assert (first.source, answers[0].source) == (Source.GENAUTH, Source.COLLAPSED)
    assert ids(answers[0].entry) == ids(first.entry)


def test_who_waited_for_a_failure_fails_with_it_and_whoever_comes_later_asks_anew(process, genauth, clock):
    one, other, newcomer = process(), process(), process()
    failures = []

    def ask():
        with pytest.raises(UpstreamTimeout) as failed:
            other.ask()
        failures.append(failed.value)

    waiting = threading.Thread(target=ask)

    def meanwhile():
        waiting.start()
        time.sleep(0.2)

    genauth.meanwhile, genauth.error = meanwhile, UpstreamTimeout(retry_after=3)
    with pytest.raises(UpstreamTimeout):
        one.ask()
    waiting.join()
    assert genauth.calls == 1
    assert [failure.retry_after for failure in failures] == [3]

    genauth.meanwhile, genauth.error = lambda: None, None
    clock.advance(2)
    assert newcomer.ask().source is Source.GENAUTH
    assert genauth.calls == 2


@pytest.mark.parametrize("failure", [UpstreamUnavailable, UpstreamTimeout, UpstreamRejected])
@pytest.mark.parametrize("redis", ["remembers", "forgets"])
def test_a_failure_is_repeated_for_two_seconds_without_asking(process, genauth, clock, stored, failure, redis):
    one = process()
    genauth.error = failure(retry_after=40)
    for _ in range(20):
        if redis == "forgets":
            stored.flushall()
        with pytest.raises(failure) as failed:
            one.ask()
        assert failed.value.retry_after == 40
    assert genauth.calls == 1

    clock.advance(1.9)
    with pytest.raises(failure):
        one.ask()
    clock.advance(0.1)
    genauth.error = None
    assert one.ask().source is Source.GENAUTH


def test_a_failure_is_repeated_by_another_process(process, genauth):
    genauth.error = UpstreamUnavailable()
    for each in (process(), process()):
        with pytest.raises(UpstreamUnavailable):
            each.ask()

    assert genauth.calls == 1


def test_a_failure_of_one_token_is_none_of_another(process, genauth):
    one = process()
    genauth.error = UpstreamUnavailable()
    with pytest.raises(UpstreamUnavailable):
        one.ask()
    genauth.error = None

    assert one.ask(session(bearer="another")).source is Source.GENAUTH


def test_while_a_failure_is_repeated_what_was_good_stands_in(outage, genauth):
    asked = genauth.calls
    assert [outage.ask().source for _ in range(3)] == [Source.STALE] * 3

    assert genauth.calls == asked + 1


def test_a_rejection_is_repeated_as_one_and_nothing_stands_in(outage, process, genauth):
    genauth.error = UpstreamRejected()

    for each in (outage, outage, process()):
        with pytest.raises(UpstreamRejected):
            each.ask()


@pytest.mark.parametrize("by", [-1800, 1800])
def test_a_clock_that_was_set_ends_a_failure(process, genauth, clock, by):
    one = process()
    genauth.error = UpstreamUnavailable()
    with pytest.raises(UpstreamUnavailable):
        one.ask()
    genauth.error = None
    clock.advance(by)

    assert one.ask().source is Source.GENAUTH


def test_a_call_that_was_not_made_is_no_failure_of_the_token(process, genauth):
    one = process()
    genauth.error = CallNotMade(retry_after=1)
    with pytest.raises(CallNotMade):
        one.ask()
    genauth.error = None

    assert one.ask().source is Source.GENAUTH


def test_who_waits_for_another_process_gives_up_at_the_deadline(process, genauth):
    one, other = process(), process()
    with one.cache.attempt(MEI):
        started = time.monotonic()
        with pytest.raises(UpstreamTimeout):
            other.ask(seconds=0.3)

    assert in_time(time.monotonic() - started, 0.8) > 0.25
    assert genauth.calls == 0


def test_the_list_of_sources_is_asked_for_with_what_is_rendered_and_not_with_a_hit(process, genauth):
    process().ask()
    assert genauth.lists == 1

    assert process().ask().source is Source.CACHE

    assert genauth.lists == 1


def test_a_hit_needs_nothing_of_genauth(process, genauth, clock):
    one = process()
    one.cache.put(MEI, accounts("stored"), clock())

    assert ids(one.ask().entry) == ["stored"]
    assert genauth.calls == genauth.lists == 0


def test_who_changes_something_is_answered_by_genauth_however_fresh_the_cache_is(process, genauth):
    one, other = process(), process()
    one.ask()

    answers = [one.ask_now(), other.ask_now()]

    assert [answer.source for answer in answers] == [Source.GENAUTH] * 2
    assert genauth.calls == 3
    assert ids(one.ask().entry) == ids(answers[-1].entry), "and everybody is served what it said"
    assert genauth.calls == 3


def test_nothing_stands_in_for_what_is_asked_now(outage):
    assert outage.ask().stale

    with pytest.raises(UpstreamUnavailable):
        outage.ask_now()


@pytest.mark.parametrize("refusal", [TokenRefused, UserBlocked])
def test_who_is_refused_when_asked_now_is_refused_from_then_on(process, genauth, refusal):
    one, other = process(), process()
    one.ask()
    genauth.error = refusal()

    for each in (one.ask_now, one.ask_now, other.ask, other.ask_now):
        with pytest.raises(refusal):
            each()

    assert genauth.calls == 2, "a refused token is not asked about again at once"


def test_what_is_forgotten_is_forgotten_by_everybody(process, genauth):
    one, other = process(), process()
    one.ask()
    assert other.ask().source is Source.CACHE

    one.forget("mei")

    assert other.ask().source is Source.GENAUTH


def test_who_cannot_tell_the_others_says_so_and_forgets_for_itself(process, cache_on, store_at, genauth, witness, clock):
    with ValkeyServer() as own:
        one = Process(genauth, cache_on(store_at(own.url)), witness, clock)
        one.ask()
        own.kill()

        with pytest.raises(CacheUnavailable):
            one.forget("mei")

        assert one.ask().source is Source.GENAUTH


def test_who_asks_after_a_change_of_somebody_else_shares_the_call_that_is_under_way(process, genauth):
    one, under_way, over, answers = process(), threading.Event(), threading.Event(), []
    for number in range(DECLARED["changed_people"].budget // 500):  # no entry takes less
        one.hear(f"zoe-{number}")

    def slow():
        under_way.set()
        assert over.wait(5)

    genauth.meanwhile = slow
    threads = [threading.Thread(target=lambda: answers.append(one.ask())) for _ in range(30)]
    threads[0].start()
    assert under_way.wait(5)
    for number, thread in enumerate(threads[1:]):
        one.hear(f"omar-{number}")
        thread.start()
        thread.join(0.01)  # until it waits, or so
    over.set()
    for thread in threads:
        thread.join()

    assert len(answers) == 30
    assert genauth.calls == 1


@pytest.mark.parametrize("refusal", [TokenRefused, UserBlocked])
def test_a_refusal_that_is_from_before_a_change_is_asked_about_again(process, genauth, refusal):
    one = process()

    def let_in_again():
        genauth.error = refusal()
        genauth.meanwhile = lambda: setattr(genauth, "error", None)
        one.hear("mei", refusals=True)

    genauth.meanwhile = let_in_again

    assert one.ask().source is Source.GENAUTH
    assert one.ask().source is Source.CACHE
    assert genauth.calls == 2


@pytest.mark.parametrize("received", [True, False])
def test_who_asks_after_a_change_shares_no_call_that_began_before(process, genauth, received):
    one, under_way, over, answers = process(), threading.Event(), threading.Event(), []

    def slow():
        genauth.meanwhile = lambda: None
        under_way.set()
        assert over.wait(5)

    genauth.meanwhile = slow
    early = threading.Thread(target=lambda: answers.append(one.ask()))
    early.start()
    assert under_way.wait(5)
    (one if received else process()).forget("mei")
    if not received:
        one.miss_changes()

    late = threading.Thread(target=lambda: answers.append(one.ask()))
    late.start()
    late.join(0.2)
    over.set()
    early.join()
    late.join()

    assert [answer.source for answer in answers] == [Source.GENAUTH] * 2
    assert genauth.calls == 2
