"""Opaque tokens: GenAuth is asked, believed for a minute, and never guessed at."""

import threading
from dataclasses import dataclass

import pytest

from bff.auth.introspection import Introspector
from bff.auth.sessions import Sessions
from bff.errors import (
    SessionExpired,
    TokenInvalid,
    TokenRefused,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from bff.genauth import CallCircuitOpen, CallNotMade
from bff.genauth.call_policy import CallBulkheadFull
from bff.resilience import Deadline
from bff.resilience.caches import DECLARED
from tests.auth.world import APP, NOW


@dataclass(frozen=True)
class Answer:
    active: object = True
    sub: object = "60194296801dc7bc2a1b2735"
    exp: float | None = NOW + 3600
    client_id: str | None = APP
    audience: tuple[str, ...] | None = None
    not_before: float | None = None
    token_type: str | None = "Bearer"
    issued_at: float | None = None
    signed_in_at: float | None = None


class GenAuth:
    def __init__(self):
        self.calls = 0
        self.whose = []
        self.known = []
        self.answer = Answer()
        self.trouble = None
        self.hangs = None
        self.arrived = threading.Event()

    def introspect(self, _token, _deadline, *, known=False, whose):
        self.whose.append(whose)
        self.calls += 1
        self.known.append(known)
        self.arrived.set()
        if self.hangs is not None:
            assert self.hangs.wait(10)
        if self.trouble is not None:
            raise self.trouble
        return self.answer


@pytest.fixture
def genauth():
    return GenAuth()


@pytest.fixture
def sessions(genauth, clock):
    introspector = Introspector(genauth, app_id=APP, accepted_seconds=60, clock=clock, monotonic=clock)
    return Sessions(introspector, clock=clock, monotonic=clock)


def of(sessions, token="0pAqUe-token", seconds=5.0):  # noqa: S107 - no password
    return sessions.of(token, Deadline.after(seconds))


def refusal(sessions, kind, **how):
    with pytest.raises(kind) as caught:
        of(sessions, **how)
    return caught.value


def test_an_active_token_is_its_users_session(sessions, genauth):
    session = of(sessions)

    assert (session.user_id, session.expires_at) == ("60194296801dc7bc2a1b2735", NOW + 3600)


def test_an_answer_is_believed_for_a_minute_and_no_longer(sessions, genauth, clock):
    of(sessions)
    clock.advance(59.9)
    of(sessions)
    assert genauth.calls == 1

    genauth.answer = Answer(active=False)
    clock.advance(0.1)
    refusal(sessions, TokenRefused)
    assert genauth.calls == 2


def test_the_minute_begins_with_the_question(sessions, genauth, clock):
    """GenAuth may have revoked the token while its answer was on the way."""
    introspect = genauth.introspect

    def slowly(*args, **how):
        clock.advance(3)
        return introspect(*args, **how)

    genauth.introspect = slowly
    of(sessions)
    clock.advance(57)
    of(sessions)

    assert genauth.calls == 2


def test_a_token_that_was_accepted_before_is_asked_about_as_one_that_is_known(sessions, genauth, clock):
    for _ in range(3):
        of(sessions)
        clock.advance(60)
    genauth.answer = Answer(active=False)
    refusal(sessions, TokenRefused)
    clock.advance(60)
    refusal(sessions, TokenRefused)

    assert genauth.known == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("trouble", "counted"),
    [(UpstreamUnavailable, True), (UpstreamTimeout, True), (CallBulkheadFull, True), (CallCircuitOpen, False)],
)
def test_what_took_a_call_or_a_place_in_vain_counts_against_a_stranger(sessions, genauth, clock, trouble, counted):
    of(sessions, "known")
    clock.advance(60)
    genauth.trouble = trouble(note="away")

    assert refusal(sessions, trouble).counted is counted
    assert refusal(sessions, trouble, token="known").counted is False


def test_an_answer_is_not_believed_past_exp(sessions, genauth, clock):
    genauth.answer = Answer(exp=NOW + 10)
    of(sessions)
    clock.advance(9.9)
    of(sessions)

    clock.advance(0.1)
    refusal(sessions, SessionExpired)
    clock.advance(3600)
    refusal(sessions, SessionExpired)
    assert genauth.calls == 1


def test_an_active_token_whose_exp_has_passed_is_expired(sessions, genauth):
    genauth.answer = Answer(exp=NOW)

    refusal(sessions, SessionExpired)


def test_a_token_without_exp_is_a_session_for_a_minute(sessions, genauth, clock):
    genauth.answer = Answer(exp=None)
    assert of(sessions).expires_at == NOW + 60

    clock.advance(60)
    assert of(sessions).expires_at == NOW + 120
    assert genauth.calls == 2


@pytest.mark.parametrize("active", [False, None, 1, "true", "false", [], {}])
def test_only_true_is_active(sessions, genauth, active):
    genauth.answer = Answer(active=active)

    refusal(sessions, TokenRefused)


def test_a_token_of_another_application_is_invalid(sessions, genauth):
    genauth.answer = Answer(client_id="another-app")

    assert refusal(sessions, TokenInvalid).note == "client_id"


def test_an_answer_that_does_not_name_the_application_is_for_us(sessions, genauth):
    genauth.answer = Answer(client_id=None)

    assert of(sessions).user_id


@pytest.mark.parametrize("audience", [(), ("another-app",), (APP.upper(),), (f" {APP}",), (f"{APP}x", APP[:-1])])
def test_a_token_for_another_audience_is_invalid(sessions, genauth, audience):
    genauth.answer = Answer(audience=audience)

    assert refusal(sessions, TokenInvalid).note == "audience"


@pytest.mark.parametrize("audience", [(APP,), ("another-app", APP)])
def test_a_token_for_us_among_others_is_for_us(sessions, genauth, audience):
    genauth.answer = Answer(audience=audience)

    assert of(sessions).user_id


@pytest.mark.parametrize("token_type", ["refresh_token", "DPoP", "N_A", "mac", "bearer_token"])
def test_what_is_no_bearer_token_is_invalid(sessions, genauth, token_type):
    genauth.answer = Answer(token_type=token_type)

    assert refusal(sessions, TokenInvalid).note == "token_type"


@pytest.mark.parametrize("token_type", [None, "Bearer", "bearer", "BEARER"])
def test_a_bearer_token_is_one_in_any_case(sessions, genauth, token_type):
    genauth.answer = Answer(token_type=token_type)

    assert of(sessions).user_id


def test_a_token_is_not_accepted_before_its_time(sessions, genauth, clock):
    genauth.answer = Answer(not_before=NOW + 110)
    assert refusal(sessions, TokenInvalid).note == "nbf"

    clock.advance(50)  # GenAuth's clock may be a minute ahead of ours
    assert of(sessions).user_id


@pytest.mark.parametrize(
    "sub", [None, "", " ", 7, "x" * 257, "a\nb", ["mei"], " mei", "mei ", "mei\u202e", "mei\u200b", "mei\u00a0", "mei\ud800"]
)
def test_an_active_token_of_nobody_is_an_unreadable_answer(sessions, genauth, sub):
    genauth.answer = Answer(sub=sub)

    refusal(sessions, UpstreamMalformed)


@pytest.mark.parametrize(
    "trouble", [UpstreamUnavailable, UpstreamTimeout, UpstreamThrottled, UpstreamMalformed, UpstreamRejected]
)
def test_without_an_answer_no_token_is_good_and_none_is_bad(sessions, genauth, clock, trouble):
    of(sessions)
    clock.advance(60)
    genauth.trouble = trouble(note="away")
    for _ in range(3):
        refusal(sessions, trouble)

    genauth.trouble = None
    clock.advance(2)
    assert of(sessions).user_id


@pytest.mark.parametrize(
    "trouble", [UpstreamUnavailable, UpstreamTimeout, UpstreamThrottled, UpstreamMalformed, UpstreamRejected]
)
def test_a_failure_is_repeated_for_two_seconds_without_asking(sessions, genauth, clock, trouble):
    genauth.trouble = trouble(retry_after=40)
    assert {refusal(sessions, trouble).retry_after for _ in range(20)} == {40}
    clock.advance(1.9)
    refusal(sessions, trouble)
    assert genauth.calls == 1

    genauth.trouble = None
    assert of(sessions, "another").user_id
    clock.advance(0.1)
    assert of(sessions).user_id


def test_genauth_is_asked_for_somebody_who_is_not_named_by_the_token(sessions, genauth, clock):
    for token in ("one", "two", "one"):
        of(sessions, token)
        clock.advance(60)

    one, two, again = genauth.whose
    assert one == again != two
    assert not {"one", "two"} & {one, two}


def test_a_call_that_was_not_made_is_no_failure_of_the_token(sessions, genauth):
    genauth.trouble = CallNotMade(retry_after=1)
    refusal(sessions, CallNotMade)
    genauth.trouble = None

    assert of(sessions).user_id


def test_what_was_believed_is_believed_while_genauth_is_away(sessions, genauth, clock):
    of(sessions)
    genauth.trouble = UpstreamUnavailable(note="away")
    clock.advance(59)

    assert of(sessions).user_id


def test_a_refusal_is_repeated_for_five_seconds_without_asking(sessions, genauth, clock):
    genauth.answer = Answer(active=False)
    for _ in range(20):
        refusal(sessions, TokenInvalid)
    clock.advance(4.9)
    refusal(sessions, TokenInvalid)
    assert genauth.calls == 1

    genauth.answer = Answer()
    clock.advance(0.1)
    assert of(sessions).user_id


def test_a_refusal_of_one_token_is_none_of_another(sessions, genauth):
    genauth.answer = Answer(active=False)
    refusal(sessions, TokenInvalid)
    genauth.answer = Answer()

    assert of(sessions, "another").user_id


def test_what_a_flood_of_refused_tokens_leaves_in_memory_is_bounded(sessions, genauth):
    more = DECLARED["refused_tokens"].budget // 500  # no entry takes less
    genauth.answer = Answer(active=False)
    for number in range(more):
        refusal(sessions, TokenInvalid, token=f"t{number}")
    calls = genauth.calls

    refusal(sessions, TokenInvalid, token=f"t{more // 2}")
    assert genauth.calls == calls
    refusal(sessions, TokenInvalid, token="t0")
    assert genauth.calls == calls + 1
    assert all(sessions.would_call(f"t{number}") for number in range(more))


def test_many_requests_with_one_token_cost_one_question(sessions, genauth):
    genauth.hangs = threading.Event()
    users = []
    threads = [threading.Thread(target=lambda: users.append(of(sessions).user_id)) for _ in range(50)]
    for thread in threads:
        thread.start()
    assert genauth.arrived.wait(5)
    genauth.hangs.set()
    for thread in threads:
        thread.join(5)

    assert users == ["60194296801dc7bc2a1b2735"] * 50
    assert genauth.calls == 1


def test_an_answer_that_came_between_two_looks_is_not_asked_for_again(genauth, clock):
    """A request that finds nothing kept may be the next to fly, with the answer meanwhile here."""

    class Late:
        """Another request with the same token goes first, from its look to its answer."""

        others = 1

        def do(self, _key, call, _deadline, **_how):
            if self.others:
                self.others = 0
                of(sessions)
            return call(), False

    introspector = Introspector(genauth, app_id=APP, monotonic=clock)
    sessions = Sessions(introspector, flights=Late(), clock=clock, monotonic=clock)

    assert of(sessions).user_id
    assert genauth.calls == 1


@pytest.mark.parametrize("bad", ["answer", "trouble"])
def test_many_requests_with_one_bad_token_cost_one_question(sessions, genauth, bad):
    genauth.hangs = threading.Event()
    genauth.answer, genauth.trouble = Answer(active=False), UpstreamUnavailable(note="away") if bad == "trouble" else None
    kind = TokenRefused if bad == "answer" else UpstreamUnavailable
    heard = []
    threads = [threading.Thread(target=lambda: heard.append(refusal(sessions, kind))) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert genauth.arrived.wait(5)
    for thread in threads:
        thread.join(0.02)  # until they wait, or so
    genauth.hangs.set()
    for thread in threads:
        thread.join(5)

    assert len(heard) == len({id(error) for error in heard}) == 20
    assert genauth.calls == 1


def test_who_waits_for_somebody_elses_answer_waits_no_longer_than_its_deadline(sessions, genauth):
    genauth.hangs = threading.Event()
    first = threading.Thread(target=lambda: of(sessions))
    first.start()
    assert genauth.arrived.wait(5)

    refusal(sessions, UpstreamTimeout, seconds=0.05)
    genauth.hangs.set()
    first.join(5)
    assert genauth.calls == 1


@pytest.mark.parametrize("token", ["", "a b", "a\n", "tökén"])
def test_what_cannot_be_a_token_is_not_asked_about(sessions, genauth, token):
    refusal(sessions, TokenInvalid, token=token)

    assert genauth.calls == 0


MEI = Answer().sub
ACTIVE, INACTIVE = Answer(), Answer(active=False)


def while_asked(genauth, happens):
    """Have something happen once while GenAuth is being asked, which had made up its mind before."""
    introspect = genauth.introspect

    def introspected(*args, **how):
        genauth.introspect, decided = introspect, genauth.answer
        happens()
        later, genauth.answer = genauth.answer, decided
        try:
            return introspect(*args, **how)
        finally:
            genauth.answer = later

    genauth.introspect = introspected


def test_a_token_of_who_was_forgotten_is_asked_about_again_within_its_minute(sessions, genauth):
    for token in ("one", "two"):
        of(sessions, token)
    sessions.forget(MEI, acceptances=True)
    genauth.answer = INACTIVE

    for token in ("one", "two"):
        refusal(sessions, TokenRefused, token=token)
    assert genauth.calls == 4


def test_a_token_of_who_was_forgotten_is_still_one_that_is_known(sessions, genauth):
    of(sessions)
    sessions.forget(MEI, acceptances=True)
    assert not sessions.would_call("0pAqUe-token")

    of(sessions)
    of(sessions)
    assert genauth.known == [False, True]


def test_nobody_else_is_asked_about_again(sessions, genauth):
    of(sessions)
    genauth.answer = Answer(sub="ali")
    of(sessions, "of-ali")
    sessions.forget(MEI, acceptances=True)

    of(sessions, "of-ali")
    assert genauth.calls == 2


def test_a_smaller_change_asks_about_no_accepted_token_and_undoes_no_greater_one(sessions, genauth):
    of(sessions)
    sessions.forget(MEI, acceptances=False)
    of(sessions)
    assert genauth.calls == 1

    sessions.forget(MEI, acceptances=True)
    sessions.forget(MEI, acceptances=False)
    genauth.answer = INACTIVE
    refusal(sessions, TokenRefused)


def test_what_genauth_was_being_asked_when_its_person_was_forgotten_is_asked_again(sessions, genauth):
    def kicked():
        genauth.answer = INACTIVE
        sessions.forget(MEI, acceptances=True)

    while_asked(genauth, kicked)
    assert of(sessions).user_id == MEI

    refusal(sessions, TokenRefused)
    assert genauth.calls == 2


def test_what_genauth_was_being_asked_when_somebody_else_was_forgotten_is_kept(sessions, genauth):
    while_asked(genauth, lambda: sessions.forget("ali", acceptances=True))
    of(sessions)

    of(sessions)
    assert genauth.calls == 1


@pytest.mark.parametrize(("before", "since"), [(ACTIVE, INACTIVE), (INACTIVE, ACTIVE)])
def test_who_asks_after_a_change_shares_no_call_that_began_before(sessions, genauth, before, since):
    genauth.hangs, genauth.answer = threading.Event(), before
    called, introspect = [], genauth.introspect

    def decided_when_asked(*args, **how):
        decided = genauth.answer
        called.append(decided)
        introspect(*args, **how)
        return decided

    def ask():
        try:
            heard.append(of(sessions).user_id)
        except TokenRefused:
            heard.append(None)

    genauth.introspect, heard = decided_when_asked, []
    early = threading.Thread(target=ask)
    early.start()
    assert genauth.arrived.wait(5)
    genauth.answer = since
    sessions.forget(MEI, acceptances=True)
    late = threading.Thread(target=ask)
    late.start()
    late.join(0.05)  # until it waits, or so
    genauth.hangs.set()
    for thread in (early, late):
        thread.join(5)

    assert called == [before, since]
    assert heard == [MEI if answer is ACTIVE else None for answer in (before, since)]


def test_while_genauth_is_away_nothing_stands_in_for_a_token_of_who_was_forgotten(sessions, genauth, clock):
    of(sessions)
    sessions.forget(MEI, acceptances=True)
    genauth.trouble = UpstreamUnavailable(note="away")
    refusal(sessions, UpstreamUnavailable)

    genauth.trouble = None
    clock.advance(2)
    assert of(sessions).user_id == MEI


def test_a_refused_token_of_who_was_forgotten_is_asked_about_again_within_its_five_seconds(sessions, genauth, clock):
    of(sessions)
    clock.advance(60)
    genauth.answer = INACTIVE
    refusal(sessions, TokenRefused)
    sessions.forget("ali", acceptances=False)
    refusal(sessions, TokenRefused)
    assert genauth.calls == 2

    genauth.answer = ACTIVE
    sessions.forget(MEI, acceptances=False)
    assert of(sessions).user_id == MEI


def test_a_refused_token_of_which_nobody_knows_whose_it_is_is_asked_about_again_whoever_was_forgotten(sessions, genauth, clock):
    """It may be one that was refused twice, or that was accepted by another worker."""
    of(sessions)
    for _ in range(2):
        clock.advance(60)
        genauth.answer = INACTIVE
        refusal(sessions, TokenRefused)

    genauth.answer = ACTIVE
    sessions.forget(MEI, acceptances=False)
    assert of(sessions).user_id == MEI


def test_a_refusal_that_was_on_its_way_when_its_person_was_forgotten_is_not_repeated(sessions, genauth, clock):
    of(sessions)
    clock.advance(60)

    def unblocked():
        genauth.answer = ACTIVE
        sessions.forget(MEI, acceptances=False)

    genauth.answer = INACTIVE
    while_asked(genauth, unblocked)
    refusal(sessions, TokenRefused)

    assert of(sessions).user_id == MEI
    assert genauth.known == [False, True, True]


def test_a_refusal_that_was_on_its_way_is_told_on_only_when_it_is_repeated(genauth, clock):
    told = []
    introspector = Introspector(genauth, app_id=APP, clock=clock, monotonic=clock)
    sessions = Sessions(
        introspector, refused=lambda session, _refusal: told.append(session.user_id), clock=clock, monotonic=clock
    )
    of(sessions)
    clock.advance(60)
    genauth.answer = INACTIVE
    while_asked(genauth, lambda: sessions.forget(MEI, acceptances=False))
    refusal(sessions, TokenRefused)
    assert told == []

    refusal(sessions, TokenRefused)
    assert told == [MEI]


def test_a_refusal_is_told_on_though_somebody_else_changed_while_it_was_on_its_way(genauth, clock):
    told = []
    introspector = Introspector(genauth, app_id=APP, clock=clock, monotonic=clock)
    sessions = Sessions(
        introspector, refused=lambda session, _refusal: told.append(session.user_id), clock=clock, monotonic=clock
    )
    of(sessions)
    clock.advance(60)
    genauth.answer = INACTIVE
    while_asked(genauth, lambda: sessions.forget("ali", acceptances=True))
    refusal(sessions, TokenRefused)

    assert told == [MEI]
    assert sessions.would_call("0pAqUe-token")


def test_a_failure_is_repeated_whoever_was_forgotten(sessions, genauth):
    """GenAuth that is away is not asked more often because it tells of changes."""
    genauth.trouble = UpstreamUnavailable(note="away")
    refusal(sessions, UpstreamUnavailable)
    sessions.forget(MEI, acceptances=True)

    refusal(sessions, UpstreamUnavailable)
    assert genauth.calls == 1


def test_where_changes_may_have_been_missed_every_accepted_token_is_asked_about_again(sessions, genauth):
    for token in ("one", "two"):
        of(sessions, token)
    sessions.forget_everybody()
    genauth.answer = INACTIVE

    for token in ("one", "two"):
        refusal(sessions, TokenRefused, token=token)


def test_an_expired_token_of_who_was_forgotten_is_expired_without_asking(sessions, genauth, clock):
    genauth.answer = Answer(exp=NOW + 1)
    of(sessions)
    sessions.forget(MEI, acceptances=True)
    clock.advance(1)

    refusal(sessions, SessionExpired)
    assert genauth.calls == 1


def test_people_are_forgotten_by_their_opaque_ids(genauth, clock):
    introspector = Introspector(genauth, app_id=APP, person=str.upper, clock=clock, monotonic=clock)
    sessions = Sessions(introspector, person=str.upper, clock=clock, monotonic=clock)
    genauth.answer = Answer(sub="mei")
    of(sessions)
    sessions.forget("mei", acceptances=True)
    of(sessions)
    assert genauth.calls == 1

    sessions.forget("MEI", acceptances=True)
    genauth.answer = INACTIVE
    refusal(sessions, TokenRefused)
    sessions.forget("mei", acceptances=False)
    refusal(sessions, TokenRefused)
    assert genauth.calls == 2
    sessions.forget("MEI", acceptances=False)
    refusal(sessions, TokenRefused)
    assert genauth.calls == 3
