"""Each step of a link, and each unlink, is one line and one count; the line names the person as LOG_USER_IDS says."""

import json

import pytest
import structlog

from bff import errors
from bff.observability import Audit, Metrics, metric_labels
from bff.web import services_of


@pytest.fixture
def audited(written):
    """The lines of the audit since the last call."""
    return lambda: [line for line in map(json.loads, written().out.splitlines()) if line["event"] == "audit"]


def test_a_change_is_one_line_and_one_count(app, audited):
    services = services_of(app)
    structlog.contextvars.bind_contextvars(request_id="r-12345678")

    services.audit.record("unlink", "last_login_method", "user-mei", source_id="62f20932", provider="wechat")
    structlog.contextvars.clear_contextvars()

    (line,) = audited()
    assert line.pop("timestamp")
    assert line.pop("person")
    assert line == {
        "level": "info", "event": "audit", "request_id": "r-12345678", "action": "unlink", "result": "last_login_method",
        "source_id": "62f20932", "provider": "wechat",
    }  # fmt: skip
    assert b'linked_accounts_changes_total{action="unlink",result="last_login_method"} 1.0' in services.metrics.render()


@pytest.mark.parametrize("secret", [{}, {"CACHE_SECRET": "a text that is long enough for a secret"}], ids=["plain", "sealed"])
def test_a_person_is_named_as_the_setting_says(app_with, audited, stored, sign_in, secret):
    def named(**settings):
        app = app_with(**secret, **settings)
        for person in ("mei", "mei", "omar"):
            services_of(app).audit.record("link_started", "ok", f"user-{person}")
        mei, again, omar = (line["person"] for line in audited())
        assert mei == again
        return mei, omar

    assert named(LOG_USER_IDS="plain") == ("user-mei", "user-omar")
    assert named(LOG_USER_IDS="off") == (None, None)
    mei, omar = named()
    assert mei != omar
    assert "mei" not in mei
    # The same as in the names of what Redis holds of her, so that the two can be brought together.
    app = app_with(**secret)
    services_of(app).changes.forget("user-mei", cause="webhook")
    assert any(mei.encode() in key for key in stored.keys())  # noqa: SIM118 - redis-py's method


def test_a_token_in_the_place_of_a_sources_id_is_masked(app, audited, genauth):
    token = genauth.token("mei")

    services_of(app).audit.record("unlink", "not_found", "user-mei", source_id=token)

    assert token not in json.dumps(audited())


def test_every_result_is_counted_by_its_name(audited):
    metrics = Metrics()
    audit = Audit(metrics, lambda _user_id: None)
    codes = {kind.code for kind in vars(errors).values() if hasattr(kind, "code")}
    results = codes | {"ok", "pending", "linked", "unchanged", "failed", "another_person"}

    for result in results:
        audit.record("link_outcome", result, "user-mei")
    audit.record("made up", "made up", "user-mei")

    text = metrics.render().decode()
    assert all(f'changes_total{{action="link_outcome",result="{result}"}} 1.0' in text for result in results)
    assert f'changes_total{{action="{metric_labels.OTHER}",result="{metric_labels.OTHER}"}} 1.0' in text
