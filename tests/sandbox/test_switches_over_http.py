"""Everything a test can do in Python, for a sandbox in another process."""

import pytest

IDENTITIES = "/api/v3/get-identities"


@pytest.fixture
def switch(genauth, http):
    def switching(method, path, body=None):
        return http.request(method, f"{genauth.url}/sandbox/{path}", json=body, timeout=5)

    return switching


def test_people_are_listed_with_their_ids(genauth, switch):
    people = {each["person"]: each for each in switch("GET", "people").json()}

    assert set(people) >= {"mei", "omar", "nia", "max", "rui", "lin", "ada", "bo"}
    assert people["mei"]["id"] == genauth.id_of("mei")


def test_tokens_are_minted_singly_and_by_the_dozen(ask, switch):
    one = switch("POST", "token", {"person": "nia", "lifetime": 60, "kind": "opaque"}).json()["token"]
    many = switch("POST", "token", {"people": ["mei", "user-5"], "alg": "ES256"}).json()["tokens"]

    assert ask(token=one).json()["data"] == []
    assert [len(ask(token=many[person]).json()["data"]) for person in ("mei", "user-5")] == [5, 4]


def test_tokens_are_revoked_and_keys_rotated(ask, genauth, switch):
    first, second = genauth.token("mei"), genauth.token("mei")
    switch("POST", "revoke", {"token": first})
    statuses = [ask(token=token).json()["statusCode"] for token in (first, second)]
    switch("POST", "rotate-keys", {"keep_old": False})

    assert statuses == [401, 200]
    assert ask(token=second).json()["statusCode"] == 401


def test_trouble_comes_and_goes(ask, switch):
    switch("POST", "trouble", {"status": 503, "path": IDENTITIES})
    troubled = ask("mei").status_code
    switch("DELETE", "trouble")

    assert (troubled, ask("mei").status_code) == (503, 200)


def test_trouble_never_reaches_the_switches(genauth, switch):
    genauth.trouble(ending="hang")

    assert switch("GET", "calls").json()["calls"] == 0


def test_calls_are_counted_and_forgotten(ask, switch):
    ask("mei")
    ask("omar")
    counted = switch("GET", f"calls?path={IDENTITIES}&person=mei").json()
    recorded = switch("GET", "requests?limit=1").json()
    switch("DELETE", "calls")

    assert (counted["calls"], counted["paths"], counted["connections"]) == (1, {IDENTITIES: 2}, 1)
    assert [request["person"] for request in recorded] == ["omar"]
    assert switch("GET", "calls").json()["calls"] == 0


def test_people_are_blocked_and_let_in_again(ask, switch):
    switch("POST", "block", {"person": "mei", "api_code": 2130010})
    blocked = ask("mei").json()
    switch("POST", "unblock", {"person": "mei"})

    assert blocked["apiCode"] == 2130010
    assert ask("mei").json()["statusCode"] == 200


def test_answers_are_recorded_for_a_person_and_for_a_path(ask, switch):
    switch("POST", "answers", {"person": "mei", "identities": None})
    switch("POST", "answers", {"path": "/api/v3/get-profile", "status": 418, "body": "tea"})

    assert ask("mei").json()["data"] is None
    assert (ask("mei", "/api/v3/get-profile").status_code, ask("mei", "/api/v3/get-profile").text) == (418, "tea")
    switch("POST", "reset")
    assert len(ask("mei").json()["data"]) == 5


def test_linking_and_ways_to_sign_in_are_switched(ask, genauth, http, switch):
    switch("POST", "linking", {"refuse_not_linked": True})
    switch("POST", "sign-in", {"person": "mei", "phone": True})
    unlinked = http.post(
        f"{genauth.url}/api/v3/unlink-extidp",
        json={"extIdpId": "nothing"},
        headers={"Authorization": genauth.token("mei")},
        timeout=5,
    )

    assert unlinked.json()["apiCode"] == 2216
    assert ask("mei", "/api/v3/get-security-info").json()["data"]["phoneBinded"] is True


def test_accounts_are_linked_and_unlinked_behind_a_services_back(ask, switch):
    switch("POST", "link", {"person": "mei", "source": "my-github"})
    linked = [row["provider"] for row in ask("mei").json()["data"]]
    switch("POST", "unlink", {"person": "mei", "source": "my-wechat-mobile"})

    assert linked == ["wechat"] * 2 + ["lark"] * 3 + ["github"]
    assert [row["provider"] for row in ask("mei").json()["data"]] == ["lark"] * 3 + ["github"]


def test_events_are_sent_and_their_deliveries_listed(switch):
    switch("POST", "webhook", {"url": "http://127.0.0.1:1/", "attempts": 2, "retry_seconds": 0})
    switch("POST", "event", {"event": "user:updated", "people": ["mei", "omar"]})
    switch("POST", "kick", {"person": "mei"})
    switch("POST", "event", {})
    listed = switch("GET", "deliveries").json()

    assert [each["event"] for each in listed][:2] == [None, "kick"]
    assert [each["event"] for each in listed][2:] == ["user:updated", "user:updated"]
    assert {tuple(each["statuses"]) for each in listed} == {(None, None)}


def test_connections_are_dropped(ask, genauth, switch):
    ask("mei")
    genauth.drop_connections()
    switch("GET", "calls")

    assert (genauth.connections, genauth.accepted) == (1, 2)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("token", {}),
        ("token", {"person": "eve"}),
        ("token", {"person": "mei", "colour": "blue"}),
        ("token", {"person": "mei", "alg": "XS999"}),
        ("trouble", {"ending": "happily"}),
        ("block", {"person": "mei", "api_code": 1}),
        ("sign-in", {"person": "mei", "smile": True}),
        ("linking", {"colour": "blue"}),
        ("link", {"person": "mei", "source": "my-space"}),
        ("link", {"person": "mei", "source": "my-lark"}),
        ("unlink", {"person": "sol", "source": "my-google"}),
        ("webhook", {"colour": "blue"}),
        ("webhook", {"url": "ftp://hooks.example"}),
        ("event", {"event": "kick", "people": ["eve"]}),
        ("event", {"event": "kick"}),
    ],
)
def test_what_cannot_be_done_is_a_400_with_a_sentence(path, body, switch):
    response = switch("POST", path, body)

    assert response.status_code == 400
    assert response.json()["error"]


def test_an_unknown_switch_is_a_404(switch):
    assert switch("POST", "self-destruct", {}).status_code == 404
