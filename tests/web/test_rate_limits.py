"""Not too often: per user, and per address for tokens that turn out bad."""

import threading

import pytest

PATH = "/me/linked-accounts"
INTROSPECTION = "/oidc/token/introspection"
POLICY = '"user";q=3;w=60'


@pytest.fixture
def client(client_with):
    return client_with(RATE_LIMIT="3/minute")


def statuses(client, times, headers, **environ):
    return [client.get(PATH, headers=headers, environ_overrides=environ).status_code for _ in range(times)]


def bad(genauth, number=0):
    return {"Authorization": f"Bearer {genauth.token('mei', claims={'jti': f'{number}'}, key='foreign')}"}


def test_a_user_may_ask_so_often_with_all_tokens_together(client, sign_in):
    answers = [client.get(PATH, headers=sign_in("mei")) for _ in range(5)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert {answer.headers["RateLimit-Policy"] for answer in answers} == {POLICY}
    assert [answer.headers["RateLimit"].split(";")[1] for answer in answers] == ["r=2", "r=1", "r=0", "r=0", "r=0"]


def test_whoever_is_sent_away_is_told_for_how_long(client, sign_in):
    statuses(client, 3, sign_in("mei"))

    response = client.get(PATH, headers=sign_in("mei"))

    assert response.json["code"] == "rate_limited"
    assert 0 < int(response.headers["Retry-After"]) <= 60
    assert response.headers["RateLimit"] == f'"user";r=0;t={response.headers["Retry-After"]}'


def test_users_do_not_count_for_each_other(client, sign_in):
    assert statuses(client, 4, sign_in("mei"))[-1] == 429
    assert statuses(client, 3, sign_in("omar")) == [200, 200, 200]


def test_processes_count_together(client_with, sign_in):
    here, there = (client_with(RATE_LIMIT="3/minute") for _ in range(2))

    assert statuses(here, 2, sign_in("mei")) == [200, 200]
    assert statuses(there, 2, sign_in("mei")) == [200, 429]


def test_nothing_of_a_user_is_in_the_names_of_what_is_counted(client, genauth, sign_in, stored):
    client.get(PATH, headers=sign_in("mei"), environ_overrides={"REMOTE_ADDR": "198.51.100.7"})
    client.get(PATH, headers=bad(genauth), environ_overrides={"REMOTE_ADDR": "198.51.100.7"})

    names = [name.decode() for name in stored.keys("la:6:rate:*")]
    assert len(names) == 2
    assert not [name for name in names if genauth.id_of("mei") in name or "198.51" in name]
    assert all(0 < stored.ttl(name) <= 60 for name in names)


def test_there_is_no_limit_where_it_is_off(client_with, sign_in, stored):
    response = [client_with(RATE_LIMIT="off").get(PATH, headers=sign_in("mei")) for _ in range(5)][-1]

    assert response.status_code == 200
    assert "RateLimit" not in response.headers
    assert not stored.keys("la:6:rate:*")


def test_preflights_and_health_count_for_nobody(client, sign_in):
    for _ in range(10):
        assert client.options(PATH).status_code == 200
        assert client.get("/livez").status_code == 200

    assert client.get(PATH, headers=sign_in("mei")).status_code == 200


def test_counting_goes_on_in_the_process_while_redis_is_away(client_with, sign_in):
    client = client_with(RATE_LIMIT="3/minute", REDIS_URL="redis://127.0.0.1:1")

    assert statuses(client, 5, sign_in("mei")) == [200, 200, 200, 429, 429]


@pytest.mark.parametrize("poison", ["text", "list", "for ever", "for a year"])
def test_a_count_that_is_none_locks_nobody_out(client, sign_in, stored, poison):
    client.get(PATH, headers=sign_in("mei"))
    (name,) = stored.keys("la:6:rate:user/*")
    stored.delete(name)
    if poison == "list":
        stored.rpush(name, "1")
    else:
        stored.set(name, "x" if poison == "text" else "1", ex=365 * 86_400 if poison == "for a year" else None)

    assert client.get(PATH, headers=sign_in("mei")).status_code == 200
    assert poison not in ("for ever", "for a year") or 0 < stored.ttl(name) <= 60


def test_an_address_that_sends_bad_tokens_is_told_to_wait_with_them(client, genauth):
    assert [statuses(client, 1, bad(genauth, number))[0] for number in range(5)] == [401, 401, 401, 429, 429]

    response = client.get(PATH, headers=bad(genauth, 9))
    assert response.json["code"] == "rate_limited"
    assert response.headers["RateLimit-Policy"] == '"address";q=3;w=60'


def test_another_address_is_not_meant(client, genauth):
    statuses(client, 5, bad(genauth), REMOTE_ADDR="198.51.100.1")

    assert statuses(client, 1, bad(genauth), REMOTE_ADDR="198.51.100.2") == [401]


def test_neighbours_with_good_tokens_are_served_all_the_same(client, genauth, sign_in):
    omar, mei = sign_in("omar"), sign_in("mei")
    assert statuses(client, 1, omar) == [200]
    assert statuses(client, 5, bad(genauth))[-1] == 429

    assert statuses(client, 1, omar) == [200]
    assert statuses(client, 1, mei) == [200], "a good signature is its own proof"


def test_neighbours_whose_opaque_tokens_were_accepted_here_are_served_all_the_same(client_with, genauth, sign_in):
    client = client_with(RATE_LIMIT="3/minute", TOKEN_VERIFICATION="introspection")
    omar, mei = sign_in("omar", kind="opaque"), sign_in("mei", kind="opaque")
    assert statuses(client, 1, omar) == [200]
    for number in range(4):
        statuses(client, 1, {"Authorization": f"Bearer random-token-{number}"})

    assert statuses(client, 1, omar) == [200]
    assert statuses(client, 1, mei) == [429], "to verify it would take a call"


def test_expired_and_missing_tokens_make_no_address_suspect(client, sign_in):
    assert set(statuses(client, 8, sign_in("max"))) == {401}
    assert set(statuses(client, 8, {})) == {401}


def test_one_network_of_ipv6_is_one_address(client, genauth):
    for host in range(3):
        statuses(client, 1, bad(genauth), REMOTE_ADDR=f"2001:db8:1:2:{host:x}::{host + 1:x}")

    assert statuses(client, 1, bad(genauth), REMOTE_ADDR="2001:db8:1:2:ffff::1") == [429]
    assert statuses(client, 1, bad(genauth), REMOTE_ADDR="2001:db8:1:3::1") == [401]


def test_who_forwarded_is_believed_only_of_trusted_proxies(client, genauth):
    for number in range(3):
        statuses(client, 1, bad(genauth) | {"X-Forwarded-For": f"203.0.113.{number}", "Forwarded": f"for=192.0.2.{number}"})

    assert statuses(client, 1, bad(genauth) | {"X-Forwarded-For": "203.0.113.99"}) == [429]


@pytest.mark.parametrize("spoofed", ["", "192.0.2.{}, ", "evil, 192.0.2.{},"])
def test_behind_a_proxy_the_address_that_it_saw_counts(client_with, genauth, spoofed):
    client = client_with(RATE_LIMIT="3/minute", TRUSTED_PROXIES="1")
    for number in range(4):
        sent = {"X-Forwarded-For": spoofed.format(number) + "203.0.113.7"}
        last = statuses(client, 1, bad(genauth) | sent)

    assert last == [429]
    assert statuses(client, 1, bad(genauth) | {"X-Forwarded-For": "203.0.113.8"}) == [401]


def test_a_proxy_that_writes_ports_along_makes_no_new_addresses(client_with, genauth):
    client = client_with(RATE_LIMIT="3/minute", TRUSTED_PROXIES="1")
    for number in range(4):
        last = statuses(client, 1, bad(genauth) | {"X-Forwarded-For": f"203.0.113.7:{50000 + number}"})

    assert last == [429]


def test_a_flood_of_random_tokens_is_no_flood_of_introspections(client_with, genauth):
    client = client_with(RATE_LIMIT="3/minute", TOKEN_VERIFICATION="introspection")

    answers = [statuses(client, 1, {"Authorization": f"Bearer random-token-{number}"})[0] for number in range(60)]

    assert answers == [401] * 3 + [429] * 57
    assert genauth.calls(INTROSPECTION) == 3


def test_a_flood_from_many_connections_at_once_is_none_either(app_with, genauth):
    app = app_with(RATE_LIMIT="5/minute", TOKEN_VERIFICATION="introspection")
    genauth.trouble(path=INTROSPECTION, latency=0.05)

    def flood(number):
        client = app.test_client(use_cookies=False)
        for turn in range(20):
            client.get(PATH, headers={"Authorization": f"Bearer random-token-{number}-{turn}"})

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert genauth.calls(INTROSPECTION) <= 5 + 16


def test_those_sent_away_are_counted(client_with, genauth, sign_in):
    client = client_with(RATE_LIMIT="1/minute", METRICS_TOKEN="watching")
    statuses(client, 3, sign_in("mei"))
    statuses(client, 3, bad(genauth))

    text = client.get("/metrics", headers={"Authorization": "Bearer watching"}).text

    assert 'linked_accounts_rate_limited_total{scope="user"} 2.0' in text
    assert 'linked_accounts_rate_limited_total{scope="address"} 2.0' in text
