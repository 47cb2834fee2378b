"""What /openapi.json promises, tried by schemathesis with all of its checks: any parameter, with a token and without."""

from itertools import count

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from bff.factory import create_app
from bff.settings import Settings
from tests.conftest import PATIENT
from tests.security.effort import answered, examples, tried
from tests.web.linking import BACK, LINKS
from tests.web.linking import SETTINGS as LINKING

SECRET = "secret-of-the-webhook-5c1d"
WECHAT = "62f209327ab3cc10d9016ee5"
# Every operation of linking and unlinking, and what it answers where everything is well.
CHANGES = {
    "unlinkAccount": {200},
    "beginLink": {201},
    "getLinkOutcome": {200},
    "getLinkOutcomeHead": {200},
    "returnFromLink": {200, 303},
    "returnFromLinkByForm": {200, 303},
}


@pytest.fixture
def operations(environ):
    """Every operation of the document as it is served, over the application that serves it."""
    everything = {"SESSION_COOKIE_NAME": "session", "CORS_ORIGINS": "https://app.example", "WEBHOOK_SECRET": SECRET, **LINKING}
    app = create_app(Settings.from_env(environ | everything), **PATIENT)
    document = schemathesis.openapi.from_wsgi("/openapi.json", app)
    found = [each.ok() for each in document.get_all_operations()]
    assert len(found) >= 10
    return found


def cases(operations):
    """Cases that fit the document and cases that do not, of every operation."""
    kinds = [each.as_strategy(generation_mode=mode) for each in operations for mode in GenerationMode if fits(each, mode)]
    return st.one_of(kinds)


def fits(operation, mode):
    """Whether there is anything to get wrong."""
    return mode.is_positive or operation.query or operation.path_parameters or operation.headers or operation.body


def inapplicable(case):
    """The checks that do not know what the contract says and an OpenAPI document cannot."""
    if "/links" in case.path:
        # No state is good that we did not make, and no id_token that GenAuth did not.
        yield positive_data_acceptance
    if case.path.endswith("/return"):
        # Whatever GenAuth appends is dropped, not judged.
        yield negative_data_rejection
    if case.path.startswith("/webhooks/"):
        # Of an event that names nobody whose id can be one the document says no more than of any other; and what is not read of
        # one is not judged.
        yield positive_data_acceptance
        yield negative_data_rejection
        # A secret that is made up for one header is no matter where another one has it.
        yield ignored_auth
    included = (case.query or {}).get("include") or ""
    names = ",".join(map(str, included)) if isinstance(included, list) else str(included)
    if not names.strip(", "):
        # An empty `include` is none; to the document it is a list with an unknown name in it.
        yield negative_data_rejection
    if "," in (case.headers or {}).get("Authorization", ""):
        # What is made up for a bearer token may have a comma: two headers, joined, which is 400 and not 401.
        yield positive_data_acceptance


def try_all(operations, headers):
    @settings(examples(40, 1500), print_blob=False)
    @given(case=cases(operations))
    def call(case):
        response = case.call_and_validate(headers=headers, excluded_checks=[*inapplicable(case)])
        tried("requests made from the OpenAPI document (schemathesis)")
        answered(response.status_code)
        assert response.status_code < 500

    call()


def test_whatever_the_document_allows_without_a_token(operations):
    try_all(operations, {})


def test_whatever_the_document_allows_with_a_good_token(operations, genauth):
    try_all(operations, {"Authorization": f"Bearer {genauth.token('mei')}"})


def test_whatever_the_document_allows_with_a_token_that_is_none(operations, genauth):
    try_all(operations, {"Authorization": f"Bearer {genauth.token('mei', key='foreign')}"})


def test_whatever_the_document_allows_with_the_webhooks_secret(operations):
    try_all([each for each in operations if each.path.startswith("/webhooks/")], {"X-GenAuth-Token": SECRET})


@pytest.mark.parametrize("name", CHANGES)
def test_whatever_the_document_allows_of_a_change_that_can_be_made(operations, genauth, name):
    """With what nobody makes up: an account that is linked, a connection that there is, an id_token, a link's state."""
    (operation,) = [each for each in operations if each.definition.raw["operationId"] == name]
    people = count(1)

    @settings(examples(4, 200), print_blob=False)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE), returns=st.booleans())
    def call(case, returns):
        person = f"user-{next(people)}"
        headers = {"Authorization": f"Bearer {genauth.token(person)}"}
        link = {"provider": "my-google", "idToken": genauth.token(person, kind="id")} | ({"returnTo": BACK} if returns else {})
        if "id" in case.path_parameters:
            case.path_parameters["id"] = WECHAT
        if "state" in case.path_parameters:
            begun = operation.app.test_client().post(LINKS, json=link, headers=headers)
            case.path_parameters["state"] = begun.json["state"]
        if operation.body:
            case.body = link if name == "beginLink" else case.body
        response = case.call_and_validate(headers=headers, excluded_checks=[negative_data_rejection])
        tried("requests made from the OpenAPI document (schemathesis)")
        answered(response.status_code)
        assert response.status_code in CHANGES[name]

    call()
