"""What is remembered of a token, and for how long."""

import gc
from unittest.mock import Mock

import pytest

from bff.auth.sessions import Acceptance, Sessions
from bff.errors import InvalidRequest, SessionExpired, TokenInvalid
from bff.resilience import Cache, Deadline
from tests.auth.world import Signer


class Counting:
    """A verifier that says yes and counts how often it was asked."""

    version, calls_genauth, begun = 1, False, 0

    def __init__(self, clock, *, expires_in=3600.0, accepted_for=60.0):
        self.verified = 0
        self.known_as = []
        self.accepted_for = accepted_for
        self._clock, self._expires_in = clock, expires_in

    def verify(self, _token, _deadline, *, known_as=None):
        self.verified += 1
        self.known_as.append(known_as)
        ends = None if self._expires_in is None else self._clock() + self._expires_in
        return Acceptance("mei", ends, self._clock() + self.accepted_for, self.version)

    def forget(self, _person):
        pass

    def is_reconsidered(self, _user_id, _begun):
        return False


@pytest.fixture
def verifier(clock):
    return Counting(clock)


@pytest.fixture
def sessions(verifier, clock):
    """Sessions that keep three acceptances."""
    one = Cache(2**20, 60.0)
    one.put(bytes(32), Acceptance("mei", 1.5, 1.5, 1))
    return Sessions(verifier, accepted=Cache(one.weight * 3, 1e9), clock=clock, monotonic=clock)


def of(sessions, token="a.token"):  # noqa: S107 - no password
    return sessions.of(token, Deadline.after(5))


def test_a_good_token_is_its_users_session(house, signer):
    session = house.of(token := signer.token())

    assert session.user_id == "60194296801dc7bc2a1b2735"
    assert session.expires_at == 1_700_003_600
    assert session.token == token
    assert len(session.digest) == 64


def test_a_session_does_not_show_its_token(house, signer):
    session = house.of(token := signer.token())

    assert token not in repr(session)


def test_a_token_is_verified_once(sessions, verifier):
    first, second = of(sessions), of(sessions)

    assert first == second
    assert verifier.verified == 1


def test_a_remembered_token_is_verified_again_after_its_time(sessions, verifier, clock):
    of(sessions)
    clock.advance(59.9)
    of(sessions)
    assert verifier.verified == 1

    clock.advance(0.1)
    of(sessions)
    assert verifier.verified == 2


def test_the_verifier_learns_whose_token_it_was_until_it_is_refused(sessions, verifier, clock, monkeypatch):
    of(sessions)
    clock.advance(60)
    of(sessions)
    assert verifier.known_as == [None, "mei"]

    clock.advance(60)
    with monkeypatch.context() as patched:
        patched.setattr(verifier, "verify", Mock(side_effect=TokenInvalid(note="revoked")))
        with pytest.raises(TokenInvalid):
            of(sessions)
    of(sessions)

    assert verifier.known_as[2:] == [None]


def test_a_remembered_token_expires_at_exp_to_the_second(sessions, clock, verifier):
    verifier.accepted_for = 1e9
    of(sessions)
    clock.advance(3599.999)
    of(sessions)

    clock.advance(0.001)
    with pytest.raises(SessionExpired):
        of(sessions)


def test_a_token_that_has_expired_is_not_verified_again(sessions, verifier, clock):
    of(sessions)
    clock.advance(7200)

    for _ in range(3):
        with pytest.raises(SessionExpired):
            of(sessions)
    assert verifier.verified == 1


def test_a_token_without_a_known_end_is_a_session_for_as_long_as_it_is_accepted(clock):
    sessions = Sessions(Counting(clock, expires_in=None), clock=clock, monotonic=clock)
    clock.advance(10)

    assert of(sessions).expires_at == clock() + 60


def test_a_change_of_keys_ends_what_was_remembered(sessions, verifier):
    of(sessions)
    verifier.version = 2
    of(sessions)

    assert verifier.verified == 2


def test_the_memory_is_bounded_and_keeps_what_is_used(sessions, verifier):
    for token in ("one", "two", "three", "one", "four"):
        of(sessions, token)
    assert verifier.verified == 4

    of(sessions, "one")
    assert verifier.verified == 4
    of(sessions, "two")
    assert verifier.verified == 5


def test_the_memory_holds_no_token(house, signer):
    token = signer.token()
    house.of(token)

    reachable, seen = [house.accepted], set()
    assert len(house.accepted) == 1
    while reachable:
        thing = reachable.pop()
        if id(thing) not in seen and not callable(thing):  # from a function everything can be reached
            seen.add(id(thing))
            assert not (isinstance(thing, str | bytes) and len(thing) > 64)
            reachable.extend(gc.get_referents(thing))


def test_a_failure_is_never_remembered(clock):
    class Moody(Counting):
        def verify(self, token, deadline, **how):
            if self.verified == 0:
                self.verified = 1
                raise TokenInvalid(note="unknown kid")
            return super().verify(token, deadline, **how)

    sessions = Sessions(Moody(clock), clock=clock, monotonic=clock)
    with pytest.raises(TokenInvalid):
        of(sessions)

    assert of(sessions).user_id == "mei"


@pytest.mark.parametrize("token", ["", " ", "a b", "tok\nen", "tok\x00en", "tökén", "=", "a=b", "a\u0660", "\U0001d7d9", "a;b"])
def test_a_token_of_other_characters_is_not_looked_at(sessions, verifier, token):
    with pytest.raises(TokenInvalid) as refusal:
        of(sessions, token)

    assert refusal.value.note == "charset"
    assert verifier.verified == 0


def test_what_is_no_token_is_not_taken_for_one_that_is_remembered(sessions, verifier):
    of(sessions, "token")

    for other in ("tok\xe9n", "tok\u0435n", "tok?n", "token\ud800"):
        with pytest.raises(TokenInvalid):
            of(sessions, other)
    assert verifier.verified == 1


def test_a_token_of_8192_characters_is_looked_at_and_a_longer_one_is_not(sessions, verifier):
    of(sessions, "a" * 8192)
    assert verifier.verified == 1

    with pytest.raises(InvalidRequest) as refusal:
        of(sessions, "a" * 8193)
    assert "8192" in refusal.value.detail
    assert verifier.verified == 1


def test_two_users_tokens_are_two_sessions(house, signer):
    mei, omar = signer.token(sub="mei"), signer.token(sub="omar")

    assert [house.of(token).user_id for token in (mei, omar, mei, omar)] == ["mei", "omar", "mei", "omar"]


def test_a_remembered_token_ends_with_its_key(house, genauth, signer):
    of_the_old_key = signer.token()
    house.of(of_the_old_key)
    genauth.publish(successor := Signer("k2"))

    house.of(successor.token())
    with pytest.raises(TokenInvalid):
        house.of(of_the_old_key)


def test_what_a_signature_proves_is_not_proved_again_for_a_change(sessions, verifier):
    of(sessions)
    sessions.forget("mei", acceptances=True)
    sessions.forget_everybody()

    of(sessions)
    assert verifier.verified == 1
