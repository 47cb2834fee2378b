"""The keys of a process that has fetched none yet: those that another process stored."""

import json
import threading
import time
from types import SimpleNamespace

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from bff.auth import jwks_refresher, jwks_snapshot
from bff.auth.jwk import usable_keys
from bff.auth.jwks_cache import BRIEF_WAIT_SECONDS, MOST_WAITING
from bff.auth.jwks_snapshot import JwksSnapshot, StoredJwks
from bff.errors import TokenInvalid, UpstreamTimeout, UpstreamUnavailable
from bff.resilience.deadline import Deadline
from tests.auth.world import ISSUER, NOW, House, Signer, b64, fresh, refusal
from tests.timing import in_time

WEEK = 7 * 86_400


class Box:
    """A store in memory: sealing and Redis are tested elsewhere."""

    def __init__(self):
        self.value = None
        self.read = self.written = 0

    def put(self, value):
        self.value = value
        self.written += 1

    def get(self):
        self.read += 1
        return self.value


def in_place(work):
    """Do at once what would be done in a thread, so that a test can tell what has happened."""
    work()


@pytest.fixture(autouse=True)
def _fresh_loggers(monkeypatch):
    # A logger that was used before keeps the configuration of that time, which cannot be captured.
    for module in (jwks_refresher, jwks_snapshot):
        monkeypatch.setattr(module, "log", structlog.get_logger())


@pytest.fixture
def box():
    return Box()


@pytest.fixture
def snapshot(box, clock):
    return JwksSnapshot(box, clock)


@pytest.fixture
def process(genauth, clock, snapshot):
    """``process()``: one more process over the same snapshot."""

    def start(**options):
        return House(genauth, clock, snapshot=snapshot, **{"start": in_place, **options})

    return start


@pytest.fixture
def before(process, signer):
    """A process that served somebody, and stored its keys."""
    house = process()
    house.of(signer.token())
    return house


def forged(number=0):
    """By somebody who read the name of a key and does not have it."""
    return Signer("stranger").token(headers={"kid": "k1"}, jti=number)


# GenAuth away -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("before")
def test_a_process_that_starts_without_genauth_has_the_keys_of_the_one_before(genauth, process, signer, clock):
    genauth.goes_away()
    clock.advance(120)
    house = process()

    assert house.of(signer.token()).user_id
    assert house.of(fresh(clock, signer)).user_id
    assert (house.keys.version, house.age) == (1, 120)


@pytest.mark.usefixtures("before")
def test_nobody_with_such_a_key_waits_for_a_genauth_that_hangs(genauth, process, signer):
    genauth.hangs = threading.Event()
    house = process(start=lambda work: threading.Thread(target=work, daemon=True).start())

    began = time.monotonic()
    for number in range(20):
        assert house.of(signer.token(jti=number), seconds=2).user_id
    in_time(time.monotonic() - began, 1)
    genauth.hangs.set()


@pytest.mark.usefixtures("before")
def test_genauth_goes_on_being_asked_as_if_there_were_no_keys(genauth, process, signer, clock):
    genauth.goes_away()
    house, asked = process(), []
    for second in range(40):
        known = genauth.discoveries
        house.of(signer.token(jti=second))
        if genauth.discoveries > known:
            asked.append(second)
        clock.advance(1)

    assert asked == [0, 1, 3, 7, 15, 23, 31, 39]


@pytest.mark.usefixtures("before")
def test_once_genauth_has_answered_there_is_the_whole_burst(genauth, process, signer, clock):
    genauth.goes_away()
    house = process()
    house.of(signer.token())
    genauth.is_back()
    clock.advance(1)
    house.of(signer.token(jti="another"))
    asked = genauth.fetches

    for number in range(9):
        refusal(house, Signer("stranger").token(headers={"kid": f"nobody-{number}"}, iat=int(NOW)))
    assert genauth.fetches == asked + 3


@pytest.mark.usefixtures("before")
def test_what_the_snapshot_does_not_verify_is_not_refused(genauth, process, signer):
    genauth.publish(signer, Signer("k3"))
    process().of(Signer("k3").token())
    genauth.goes_away()
    house = process()
    doubtful = {
        "a new key": Signer("k2").token(),
        "a key that was none when they were asked for": Signer("k2").token(iat=int(NOW) - 3600),
        "no key named, and several there": signer.token(headers={"kid": None}),
        "a signature that does not hold": forged(),
        "another issuer": signer.token(iss="https://moved.example"),
        "another issuer with a new key": Signer("k2").token(iss="https://moved.example"),
    }

    for token in doubtful.values():
        for _ in range(3):
            assert refusal(house, token, UpstreamUnavailable).retry_after >= 1
    assert house.of(signer.token()).user_id


@pytest.mark.usefixtures("before")
def test_whether_a_token_has_ended_is_known_without_genauth(genauth, process, signer):
    genauth.goes_away()

    assert refusal(process(), signer.token(exp=int(NOW) - 1), Exception).code == "token_expired"


@pytest.mark.usefixtures("before")
def test_few_threads_wait_long_for_what_the_snapshot_does_not_verify(genauth, process, signer):
    genauth.hangs = threading.Event()
    house = process(start=lambda work: threading.Thread(target=work, daemon=True).start())
    house.of(signer.token())
    threads = [
        threading.Thread(target=refusal, args=(house, forged(n), (UpstreamTimeout, TokenInvalid), 8), daemon=True)
        for n in range(MOST_WAITING + 8)
    ]
    for thread in threads:
        thread.start()
    patience = Deadline.after(5)
    while sum(thread.is_alive() for thread in threads) > MOST_WAITING and not patience.passed:
        time.sleep(0.01)
    time.sleep(BRIEF_WAIT_SECONDS / 2)

    assert sum(thread.is_alive() for thread in threads) == MOST_WAITING
    genauth.hangs.set()
    for thread in threads:
        thread.join(5)


# GenAuth there ------------------------------------------------------------------------------------


@pytest.mark.usefixtures("before")
def test_the_fetch_starts_with_the_first_token_all_the_same(genauth, process, signer):
    house = process()
    house.of(signer.token())

    assert genauth.fetches == 2
    assert house.keys.issuer == ISSUER


@pytest.mark.usefixtures("before")
def test_equal_keys_keep_what_was_verified_and_others_end_it(genauth, process, signer, clock):
    pending = []
    house = process(start=pending.append)
    genauth.goes_away()
    with pytest.raises(UpstreamTimeout):
        house.of(signer.token(), 0)
    pending.pop()()
    house.of(signer.token())
    assert (house.keys.version, house.keys.issuer) == (1, None)

    genauth.is_back()
    for published, version in ((signer, 1), (Signer("k2"), 2)):
        genauth.publish(published)
        clock.advance(600)
        house.of(fresh(clock, signer))
        pending.pop()()
        assert (house.keys.version, house.keys.issuer) == (version, ISSUER)


@pytest.mark.usefixtures("before")
def test_a_key_withdrawn_meanwhile_ends_with_the_first_fetch(genauth, process, signer):
    genauth.publish(Signer("k2"))
    genauth.hangs = threading.Event()
    fetching = []
    house = process(start=lambda work: fetching.append(threading.Thread(target=work)) or fetching[-1].start())

    assert house.of(signer.token()).user_id
    genauth.hangs.set()
    fetching[0].join(5)
    refusal(house, signer.token())
    refusal(house, signer.token(jti="another"))
    for thread in fetching:
        thread.join(5)


@pytest.mark.usefixtures("before")
def test_the_first_token_of_a_new_key_waits_for_the_fetch(genauth, process):
    genauth.publish(Signer("k2"))

    assert process().of(Signer("k2").token()).user_id
    assert genauth.fetches == 2


@pytest.mark.usefixtures("before")
def test_a_forged_token_is_refused_by_genauths_own_keys(genauth, process):
    house = process(start=lambda work: threading.Thread(target=work, daemon=True).start())

    assert refusal(house, forged()).note == "signature"
    assert house.keys.issuer == ISSUER


@pytest.mark.usefixtures("before")
def test_another_key_under_the_old_name_is_found(genauth, process, box):
    genauth.document = {"keys": [Signer("replaced").jwk(kid="k1")]}
    house = process(start=lambda work: threading.Thread(target=work, daemon=True).start())

    assert house.of(Signer("replaced").token(headers={"kid": "k1"})).user_id


# Storing ------------------------------------------------------------------------------------------


def test_only_what_genauth_said_is_put_away_and_with_its_moment(genauth, process, signer, box, clock):
    house = process()
    genauth.goes_away()
    refusal(house, signer.token(), UpstreamUnavailable)
    assert box.value is None

    genauth.is_back()
    clock.advance(1)
    house.of(signer.token())
    assert json.loads(box.value)["fetched_at"] == clock()

    genauth.goes_away()
    clock.advance(60)
    process().of(signer.token())
    assert box.written == 1


@pytest.mark.usefixtures("before")
def test_what_is_put_away_is_public(box, signer):
    put = json.loads(box.value)

    assert put == {
        "issuer": ISSUER,
        "fetched_at": NOW,
        "keys": [{name: signer.jwk()[name] for name in ("kty", "kid", "n", "e", "alg", "use")}],
    }


def test_a_newer_set_replaces_the_old_one_whole(genauth, process, signer, snapshot, clock):
    process().of(signer.token())
    genauth.publish(Signer("k2"))
    clock.advance(10)
    process().of(Signer("k2").token())

    assert [key.kid for key in snapshot.get().keys] == ["k2"]
    assert snapshot.get().fetched_at == NOW + 10


def test_whoever_waits_for_keys_does_not_wait_for_the_store(process, signer, box):
    go = threading.Event()
    box.put = lambda _value: go.wait(5)
    fetching = []
    house = process(start=lambda work: fetching.append(threading.Thread(target=work)) or fetching[-1].start())

    began = time.monotonic()
    assert house.of(signer.token()).user_id
    in_time(time.monotonic() - began, 1)
    go.set()
    fetching[0].join(5)


# Reading ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("before")
def test_the_store_is_read_for_as_long_as_there_are_no_keys(genauth, process, signer, box, clock):
    genauth.goes_away()
    box.value, kept = None, box.value
    house, looked = process(), box.read
    refusal(house, signer.token(), UpstreamUnavailable)
    box.value = kept  # another process was luckier
    clock.advance(1)
    for _ in range(9):
        house.of(signer.token())
        clock.advance(10)

    assert box.read - looked == 2


@pytest.mark.usefixtures("before")
def test_a_line_says_that_they_are_in_use_and_how_old_they_are(genauth, process, signer, clock):
    genauth.goes_away()
    clock.advance(90)
    house = process()

    with capture_logs() as lines:
        for number in range(3):
            house.of(signer.token(jti=number))

    (line,) = [line for line in lines if line["event"] == "jwks_snapshot_in_use"]
    assert (line["age_seconds"], line["keys"]) == (90, 1)


def test_what_looking_takes_is_taken_from_the_fetch(genauth, process, signer, box):
    left = []
    genauth.discovery = lambda deadline: (
        left.append(deadline.remaining()) or SimpleNamespace(issuer=ISSUER, jwks_uri=genauth.jwks_uri)
    )
    box.get = lambda: time.sleep(0.2)

    process(fetch_seconds=1.0).of(signer.token())

    assert left[0] <= 0.8


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"fetched_at": NOW - WEEK - 1}, "too old, or from the future"),
        ({"fetched_at": NOW + 61}, "too old, or from the future"),
        ({"fetched_at": "now"}, "unreadable"),
        ({"issuer": ""}, "no usable key or no issuer"),
        ({"issuer": None}, "unreadable"),
        ({"keys": []}, "no usable key or no issuer"),
        ({"keys": [Signer("weak", size=1024).jwk()]}, "no usable key or no issuer"),
        ({"keys": [Signer("k1").jwk(d="AQAB")]}, "no usable key or no issuer"),
        ({"keys": [{"kty": "oct", "k": "AA", "kid": "k1"}]}, "no usable key or no issuer"),
        ({"keys": None}, "unreadable"),
    ],
)
def test_what_cannot_be_used_is_as_if_nothing_were_stored(genauth, process, before, signer, box, change, reason):
    box.value = json.dumps(json.loads(box.value) | change).encode()
    genauth.goes_away()

    with capture_logs() as lines:
        refusal(process(), signer.token(), UpstreamUnavailable)

    assert [line["reason"] for line in lines if line["event"] == "jwks_snapshot_rejected"] == [reason]


@pytest.mark.parametrize("fetched_at", [NOW - WEEK, NOW + 60])
def test_a_week_and_another_clock_are_believed(process, before, genauth, signer, box, fetched_at):
    box.value = json.dumps(json.loads(box.value) | {"fetched_at": fetched_at}).encode()
    genauth.goes_away()
    house = process()

    assert house.of(signer.token()).user_id
    assert house.age == max(0, NOW - fetched_at)


def test_the_largest_set_there_is_fits(snapshot, box):
    modulus = b64((1 << 8191 | 1).to_bytes(1024))  # a real one takes seconds to find
    entries = [{"kty": "RSA", "kid": f"{n:0>256}", "n": modulus, "e": "AQAB"} for n in range(64)]
    snapshot.put(StoredJwks(ISSUER, NOW, keys := usable_keys({"keys": entries})))

    assert (len(keys), snapshot.get().keys) == (64, keys)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from([ISSUER, NOW, "RSA", "AQAB", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["kty", "kid", "n", "e", "x", "y", "crv", "use"]), inner)
        | st.fixed_dictionaries({"issuer": inner, "fetched_at": inner, "keys": inner})
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(lies=st.binary(max_size=80) | anything.map(lambda value: json.dumps(value).encode()))
def test_no_stored_bytes_can_upset_us(lies):
    box = Box()
    box.value = lies

    assert JwksSnapshot(box, lambda: NOW).get() is None


@settings(deadline=None)
@given(issuer=st.text(min_size=1) | st.just("\ud800"))
def test_no_issuer_can_upset_us(issuer):
    snapshot = JwksSnapshot(Box(), lambda: NOW)
    snapshot.put(StoredJwks(issuer, NOW, usable_keys({"keys": [Signer().jwk()]})))

    found = snapshot.get()
    assert found is None or found.issuer == issuer


# Settings -----------------------------------------------------------------------------------------


def test_the_overrides_hold_for_stored_keys_too(genauth, process, signer, clock, snapshot):
    ours = {"issuer": "https://custom.example/oidc", "url": "https://keys.example/jwks"}
    House(genauth, clock, snapshot=snapshot, start=in_place, **ours).of(signer.token(iss=ours["issuer"]))
    genauth.goes_away()
    house = House(genauth, clock, snapshot=snapshot, start=in_place, **ours)

    assert house.of(signer.token(iss=ours["issuer"])).user_id
    refusal(house, signer.token(iss=ISSUER, jti="x"))
