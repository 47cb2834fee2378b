"""May a person unlink an account? The rule alone, case by case."""

from dataclasses import dataclass

import pytest

from bff.accounts.unlink_rule import LinkedSource, Permission, needs_facts, permission

ALL = ("password", "email", "phone")
ALLOWED = Permission(allowed=True)
LAST = Permission(allowed=False, reason="last_login_method")
MANAGED = Permission(allowed=False, reason="managed_by_organization")
UNKNOWN = Permission(allowed=None, reason="unknown")

WECHAT = LinkedSource("source-1", "wechat", "social")
GOOGLE = LinkedSource("source-2", "google", "social")
LARK = LinkedSource("source-3", "lark", "enterprise")
STRAY = LinkedSource(None, "google", "social")
UNCLEAR = LinkedSource("source-4", "hexagon-id", None)


@dataclass(frozen=True)
class Facts:
    password_set: bool | None = False
    email_bound: bool | None = False
    phone_bound: bool | None = False


def asked(entries, chosen, facts=None, *, denied=(), methods=ALL):
    """What the rule says; the facts must make a difference exactly where it says that it needs them."""
    found = permission(entries, chosen, facts, denied=denied, methods=methods)
    by_facts = {
        permission(entries, chosen, each, denied=denied, methods=methods) for each in (None, Facts(), Facts(True, True, True))
    }
    assert needs_facts(entries, chosen, denied=denied, methods=methods) == (len(by_facts) == 3)
    return found


def test_while_another_source_remains_an_account_may_go():
    assert asked([WECHAT, GOOGLE], GOOGLE) == ALLOWED
    assert asked([LARK, GOOGLE], GOOGLE, denied=["enterprise"]) == ALLOWED


def test_an_account_without_a_source_is_nothing_that_remains_and_nothing_to_unlink():
    assert asked([STRAY, GOOGLE], GOOGLE, Facts()) == LAST
    assert asked([STRAY, GOOGLE], STRAY) == UNKNOWN


def test_two_entries_of_one_source_are_one_way_in():
    assert asked([GOOGLE, GOOGLE], GOOGLE, Facts()) == LAST


@pytest.mark.parametrize(
    ("facts", "methods", "expected"),
    [
        (Facts(password_set=True), ALL, ALLOWED),
        (Facts(email_bound=True), ALL, ALLOWED),
        (Facts(phone_bound=True), ALL, ALLOWED),
        (Facts(password_set=None, phone_bound=True), ALL, ALLOWED),
        (Facts(), ALL, LAST),
        (Facts(email_bound=True, phone_bound=True), ["password"], LAST),
        (Facts(password_set=True), ["phone", "email"], LAST),
        (Facts(email_bound=None), ALL, UNKNOWN),
        (Facts(email_bound=None), ["password"], LAST),
        (None, ALL, UNKNOWN),
        (None, ["phone"], UNKNOWN),
        # There is no other way to sign in: nothing has to be asked.
        (None, [], LAST),
        (Facts(True, True, True), [], LAST),
    ],
)
def test_the_last_source_may_go_if_a_method_to_sign_in_is_left(facts, methods, expected):
    assert asked([GOOGLE], GOOGLE, facts, methods=methods) == expected


@pytest.mark.parametrize("name", ["source-3", "SOURCE-3", "lark", "Lark", "enterprise", "Enterprise"])
@pytest.mark.parametrize("entries", [[LARK], [LARK, WECHAT]])
def test_what_the_operator_denies_stays_whatever_else_there_is(name, entries):
    assert asked(entries, LARK, Facts(True, True, True), denied=["other", name]) == MANAGED


def test_an_account_without_a_source_can_be_denied_by_its_type():
    assert asked([STRAY, WECHAT], STRAY, denied=["google"]) == MANAGED


@pytest.mark.parametrize("name", ["source-1", "wechat", "enterprise", "social", "sour"])
def test_what_is_denied_for_others_changes_nothing(name):
    assert asked([WECHAT, GOOGLE], GOOGLE, denied=[name]) == ALLOWED


def test_where_enterprise_is_denied_an_unknown_category_is_no_leave():
    assert asked([UNCLEAR, WECHAT], UNCLEAR, denied=["enterprise"]) == UNKNOWN
    assert asked([UNCLEAR, WECHAT], UNCLEAR, denied=["lark"]) == ALLOWED
    assert asked([UNCLEAR, WECHAT], UNCLEAR, denied=["enterprise", "hexagon-id"]) == MANAGED
    assert asked([UNCLEAR, WECHAT], WECHAT, denied=["enterprise"]) == ALLOWED
