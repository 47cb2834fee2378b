"""What is there to be seen from outside without being anybody."""

import re

import pytest

from tests.security.conftest import COOKIE
from tests.security.service import PATH

OPEN = ("/livez", "/readyz", "/openapi.json", "/docs")


@pytest.mark.parametrize("path", OPEN)
def test_what_is_open_names_no_secret_no_host_and_no_version(open_service, genauth, valkey, path):
    answer = open_service.ask(path)

    assert answer.status == 200
    hidden = {genauth.url, genauth.app_id, genauth.app_secret, valkey.url, "canary-", "/bff/", "Traceback"}
    assert not [each for each in hidden if each in answer.everything]
    assert not re.search(r"(?i)(werkzeug|flask|granian|python)/?\d", answer.everything)


def test_every_other_route_asks_who_is_there(open_service):
    """Read from the application itself: a route that is added later is open only if somebody says so here."""
    open_to_all = {*OPEN, "/problems/<code>", "/problems/<kind>", "/problems/<slug>"}
    open_to_all |= {"/me/linked-accounts/links/<state>/return"}  # its state, which nobody can guess, is the key to it
    for rule in open_service.app.url_map.iter_rules():
        if rule.rule in open_to_all or not rule.methods & {"GET", "POST", "DELETE"}:
            continue
        path = re.sub(r"<[^>]*>", "x", rule.rule)
        method = next(method for method in ("GET", "POST", "DELETE") if method in rule.methods)
        answer = open_service.ask(path, method=method, headers=[("Content-Type", "application/json")], body=b"{}")
        assert answer.status in {401, 403, 404}, rule.rule


@pytest.mark.parametrize("path", ["/metrics", "/webhooks/genauth"])
def test_what_has_no_secret_set_is_not_there(service, path):
    assert service.ask(path).status == 404
    assert service.ask(path, method="POST").status in {404, 405}


@pytest.mark.parametrize("offered", [None, "", "x", "canary-metrics-token-5b1", "canary-metrics-token-5b1d ", "\xff" * 20])
def test_metrics_want_their_own_token(open_service, sign_in, offered):
    headers = [] if offered is None else [("Authorization", f"Bearer {offered}x")]

    assert open_service.ask("/metrics", headers=headers).status in {401, 403, 404}
    assert open_service.ask("/metrics", headers=[*sign_in("mei").items()]).status in {401, 403, 404}


def test_metrics_tell_of_nobody(open_service, genauth):
    tokens = [genauth.token(person) for person in ("mei", "omar", "ivy")]
    for token in tokens:
        open_service.accounts_of(token)
        open_service.ask(headers=[("Cookie", f"{COOKIE}={token}")])
        open_service.ask(f"{PATH}/{token}", query=token)

    answer = open_service.ask("/metrics", headers=[("Authorization", "Bearer canary-metrics-token-5b1d")])

    if answer.status == 404:
        pytest.skip("there is no /metrics yet")
    secrets = {*tokens, *(genauth.id_of(person) for person in ("mei", "omar", "ivy")), genauth.app_id}
    secrets |= genauth.canaries("omar") | genauth.canaries("ivy")
    assert answer.status == 200
    assert not [secret for secret in secrets if secret in answer.everything]


def test_the_page_of_documentation_loads_and_runs_nothing(open_service):
    answer = open_service.ask("/docs")

    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "script" not in policy
    assert not re.search(rb"(?i)<script|<link|<iframe|\son\w+=|src=", answer.body)


def test_nothing_else_is_there(service, sign_in):
    for path in ("/", "/me", "/me/", "/admin", "/debug", "/console", "/favicon.ico", "/robots.txt", "/sandbox/token"):
        assert service.ask(path, headers=[*sign_in("mei").items()]).json["code"] == "not_found"
