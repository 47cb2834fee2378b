import pytest

from bff.errors import InvalidRequest, SessionExpired, TokenInvalid


def test_a_good_token_is_its_users_session(house, signer):
    session = house.of(token := signer.token())

    assert session.user_id == "60194296801dc7bc2a1b2735"
    assert session.expires_at == 1_700_003_600
    assert session.token == token
    assert len(session.digest) == 64
