"""Promise 2: nobody sees another person's accounts, however many ask at once."""

import threading

PATH = "/me/linked-accounts"
THREADS, TURNS, PEOPLE = 50, 8, 20


def own(number):
    """What only this person's answer has: the ids of their accounts at the providers."""
    return {f"{10_000_000 + number}", f"oH_5k5SflrwjGvk7{number:012x}", f"o9Nka5ibU-lUGQae{number:012x}"}


def subjects(response):
    return {identity["subject"] for account in response.json["linkedAccounts"] for identity in account["identities"]}


def test_answers_never_cross(app_with, genauth, stored):
    apps = [app_with(CACHE_TTL_SECONDS="1", TOKEN_ACCEPTED_SECONDS="1") for _ in range(2)]
    genauth.trouble(path="/api/v3/get-identities", latency=0.01)
    genauth.trouble(path="/api/v3/get-identities", share=0.05, set_cookie="session=somebody-elses; Path=/")
    tokens = [genauth.token(f"user-{number}") for number in range(PEOPLE)]
    wrong, answered = [], []
    begin = threading.Barrier(THREADS)

    def ask(thread):
        client = apps[thread % 2].test_client(use_cookies=False)
        begin.wait()
        for turn in range(TURNS):
            number = (thread * 7 + turn * 3) % PEOPLE
            headers = {"Authorization": f"Bearer {tokens[number]}", "X-Request-Id": f"request-{thread}-{turn}"}
            refresh = "&refresh=true" if turn % 3 == 0 else ""
            response = client.get(f"{PATH}?include=identities{refresh}", headers=headers)
            if response.headers["X-Request-Id"] != headers["X-Request-Id"]:
                wrong.append(("request id", number))
            if response.status_code == 200:
                answered.append(number)
                if subjects(response) != own(number):
                    wrong.append((number, subjects(response)))
            elif response.status_code not in {503, 504}:
                wrong.append((number, response.status_code))

    threads = [threading.Thread(target=ask, args=(thread,)) for thread in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert len(answered) > THREADS * TURNS * 0.9
    assert not any("cookie" in request.headers for request in genauth.requests)


def test_the_same_client_asking_for_two_people_gets_each_their_own(client, genauth, sign_in):
    for number in (1, 2, 1, 2):
        response = client.get(f"{PATH}?include=identities", headers=sign_in(f"user-{number}"))
        assert subjects(response) == own(number)


def test_an_entry_that_was_moved_to_somebody_else_is_not_believed(client, sign_in, stored):
    signed_in = {number: sign_in(f"user-{number}") for number in (1, 2)}

    def ask(number):
        return client.get(f"{PATH}?include=identities", headers=signed_in[number])

    for number in signed_in:
        ask(number)
        assert ask(number).headers["Cache-Status"].startswith("linked-accounts; hit")
    one, two = sorted(stored.keys("*:accounts"))
    values = stored.get(one), stored.get(two)
    stored.set(one, values[1])
    stored.set(two, values[0])

    for number in signed_in:
        response = ask(number)
        assert subjects(response) == own(number)
        assert "; fwd=" in response.headers["Cache-Status"]
