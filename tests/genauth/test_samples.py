"""Recorded answers of GenAuth (docs/genauth.md 1.5 and 2.2 to 2.4), named as cases, and what each of them means to us."""

from pathlib import Path

import pytest

from bff.errors import (
    BffError,
    TokenRefused,
    UpstreamForbidden,
    UpstreamMalformed,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamUnavailable,
    UserBlocked,
)
from bff.genauth.messages import Response
from bff.genauth.protocol import read_identities
from bff.models import Identity, Profile
from schemas.genauth import parsed

SAMPLES = Path(__file__).parents[1] / "samples"

CONNECTION = ("62f2093244fa5cb19ff21ed3",)
SOURCE = "62f209327xxxxcc10d966ee5"
GITHUB_PROFILE = Profile(nickname="NT", username="nutstest", photo="https://avatars.githubusercontent.com/u/35067055?v=4")
LIN = Identity(
    "60b0a5ef0ee4f0b8b5a1c001", "60b0a4d1c1a2f0b8b5a1c000", "oauth2", "generic", "7654321", ("60b0a4d1c1a2f0b8b5a1c002",)
)


def lin(**profile):
    return Identity(
        LIN.identity_id, LIN.ext_idp_id, LIN.provider, LIN.type, LIN.user_id_in_idp, LIN.connection_ids, Profile(**profile)
    )


SUCCESSES = {
    "wechat-two-identities": (
        Identity("62f20932xxxxbcc10d966ee5", SOURCE, "wechat", "openid", "oH_5k5SflrwjGvk7wqpoBKq_cc6M", CONNECTION),
        Identity("62f726239xxxxe3285d21c93", SOURCE, "wechat", "unionid", "o9Nka5ibU-lUGQaeAHqu0nOZyJg0", CONNECTION),
    ),
    "sample-result-object-and-string": (
        Identity(
            "62299d8b866d2dab79a89dc4",
            "6076bacxxxxxxxxd80d993b5",
            "wechat",
            "openid",
            "oj7Nq05R-RRaqak0_YlMLnnIwsvg",
            ("605492ac41xxxxe0362f0707",),
        ),
    ),
    "lark-triple": (
        Identity("62f20932xxxxbcc10d966ee5", SOURCE, "lark", "open_id", "ou_8bae746eac07cd2564654140d2a9ac61", CONNECTION),
        Identity("62f726239xxxxe3285d21c93", SOURCE, "lark", "union_id", "on_093ce5023288856aa0abe4099123b18b", CONNECTION),
        Identity("62f72623e011cf10c8851e4c", SOURCE, "lark", "user_id", "23ded785", CONNECTION),
    ),
    "github-nested-tokens": (
        Identity("6130d17673f16b4eba4450ed", "6130d0f5a2f6d7e2b2b0ad3c", "github", "primary", "35067055", profile=GITHUB_PROFILE),
        Identity("6130d17673f16b4eba4450ee", "6130d0f5a2f6d7e2b2b0ad3c", "github", "openid", "35067055", profile=GITHUB_PROFILE),
    ),
    "gitee-custom-data": (lin(name="林", username="lin-dev"),),
    "merged-account-without-profile": (LIN,),
    "profile-as-a-string": (lin(nickname="Lin"),),
    "half-an-emoji": (
        Identity(
            "60b0a5ef0ee4f0b8b5a1c001",
            None,
            "weibo",
            "primary",
            "7654321",
            profile=Profile(nickname="小明\ufffd", photo="http://tva1.sinaimg.cn/a.jpg"),
        ),
    ),
    "nothing-linked": (),
    "data-null": (),
    "data-missing": (),
}

FAILURES = {
    "throttled": UpstreamThrottled,
    "business-error": UpstreamForbidden,
    "code-string": UpstreamForbidden,
    "legacy-envelope": UpstreamRejected,
    "v2-envelope": UpstreamMalformed,
    "not-logged-in": TokenRefused,
    "login-expired": TokenRefused,
    "user-not-found": TokenRefused,
    "user-locked": UserBlocked,
    "user-deactivated": UserBlocked,
    "user-not-of-this-tenant": UserBlocked,
    "system-busy": UpstreamUnavailable,
    "microservice-failed": UpstreamUnavailable,
    "pipeline-failed": UpstreamUnavailable,
    "maintenance": UpstreamUnavailable,
    "unauthorized-for-real": TokenRefused,
}

SECRETS = {
    "sample-result-object-and-string": {
        "57_fK0xgSL_NwVlS-gmUwlMQ2N6AONNIOAYxxxx",
        "57_IZFu91Ak1Wg6DRytZFFIOd3upNF5lH7vPxxxxx",
    },
    "github-nested-tokens": {
        "gho_on-the-identity",
        "gho_nested-in-the-user-info",
        "gho_nested-in-the-oauth-string",
    },
    "profile-as-a-string": {"inside-a-profile-string"},
}


def recorded(case):
    (file,) = (SAMPLES / case).glob("*.json")
    return Response(int(file.stem), {"content-type": "application/json"}, file.read_bytes())


@pytest.mark.parametrize("case", SUCCESSES)
def test_a_success_becomes_identities(case):
    assert read_identities(recorded(case)).rows == SUCCESSES[case]


@pytest.mark.parametrize("case", FAILURES)
def test_a_failure_becomes_the_error_that_it_is(case):
    with pytest.raises(BffError) as error:
        read_identities(recorded(case))

    assert error.type in {FAILURES[case], *FAILURES[case].__subclasses__()}


@pytest.mark.parametrize("case", FAILURES)
def test_what_genauth_says_is_neither_shown_nor_noted(case):
    answer = recorded(case)
    with pytest.raises(BffError) as error:
        read_identities(answer)

    message = parsed(answer.body.decode())["message"]
    assert message not in f"{error.value!r} {error.value} {error.value.note} {error.value.detail}"


@pytest.mark.parametrize("case", SECRETS)
def test_the_secrets_are_known_to_the_leak_guard_and_shown_to_nobody(case):
    identities = read_identities(recorded(case))
    shown = f"{identities!r} {identities} {identities.rows}"

    assert {secret for secret in identities.secrets if not secret.startswith("{")} == SECRETS[case]
    assert not [secret for secret in identities.secrets if secret in shown]


def test_the_request_id_of_a_refusal_is_kept_for_our_log():
    with pytest.raises(TokenRefused) as error:
        read_identities(recorded("not-logged-in"))
    assert error.value.note == "HTTP 200, statusCode 401, apiCode 2020, request 6f0c9a8e-41d2-4f0e-8a57-2f5f4d1c0b7e"


def test_every_sample_is_a_case_and_loads():
    answers = {folder for folder in SAMPLES.iterdir() if folder.name != "events"}  # those: tests/webhooks.py
    assert {folder.name for folder in answers} == SUCCESSES.keys() | FAILURES.keys()
    for folder in answers:
        (file,) = folder.glob("*.json")
        assert isinstance(parsed(file.read_text()), dict)
