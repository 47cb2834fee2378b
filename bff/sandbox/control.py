"""The sandbox's switches over HTTP, for one that runs in another process: everything under ``/sandbox/``.

Whoever reaches the port may use them. It listens on loopback.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bff.sandbox.messages import Answer, Refused, Request, as_json, not_found

if TYPE_CHECKING:
    from bff.sandbox.sandbox import Sandbox

_DONE = {"ok": True}


def answer(sandbox: "Sandbox", request: Request) -> Answer:
    """Do what the request asks; 400 with a sentence when it cannot be done."""
    route = ROUTES.get((request.method, request.path))
    if route is None:
        return not_found(request)
    try:
        return as_json(route(sandbox, request.json(), request.arguments))
    except (KeyError, TypeError, ValueError, NotImplementedError, Refused) as error:
        return as_json({"error": str(error.args[0]) if error.args else repr(error)}, 400)


Body = Mapping[str, Any]
Query = Mapping[str, str]
Route = Callable[["Sandbox", Body, Query], object]


def _switch(name: str) -> Route:
    """The switch of `Sandbox` with that name; the body's members are its arguments."""

    def turn(sandbox: "Sandbox", body: Body, _query: Query) -> object:
        getattr(sandbox, name)(**body)
        return _DONE

    return turn


def _people(sandbox: "Sandbox", _body: Body, _query: Query) -> object:
    """The personas, their ids, and what each is a case of."""
    return [{"person": key, "id": sandbox.id_of(key), "about": about} for key, about in sandbox.people.items()]


def _token(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    """``{"person": …}`` and `Sandbox.token`'s arguments; or ``"people"``, a list, for as many tokens."""
    how = dict(body)
    if "people" in how:
        return {"tokens": {each: sandbox.token(each, **_without(how, "people")) for each in how["people"]}}
    return {"token": sandbox.token(how["person"], **_without(how, "person"))}


def _without(how: Body, name: str) -> dict[str, Any]:
    return {key: value for key, value in how.items() if key != name}


def _revoke(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    sandbox.revoke(body["token"])
    return _DONE


def _rotate(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    sandbox.rotate_keys(keep_old=bool(body.get("keep_old", False)))
    return _DONE


def _unblock(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    sandbox.unblock(body["person"])
    return _DONE


def _kick(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    sandbox.kick(body["person"])
    return _DONE


def _event(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    """``{"event": …, "people": […]}``; without an event, GenAuth's test."""
    sandbox.send_event(body.get("event"), *body.get("people", ()))
    return _DONE


def _deliveries(sandbox: "Sandbox", _body: Body, _query: Query) -> object:
    """The last deliveries, newest first."""
    return [{"event": each.event, "statuses": each.statuses} for each in sandbox.deliveries[::-1]]


def _answers(sandbox: "Sandbox", body: Body, _query: Query) -> object:
    """``{"person": …, "identities": …}``; or ``{"path": …, "status": …, "body": "…", "headers": {}}``."""
    if "person" in body and "identities" in body:
        sandbox.answers(body["person"], body["identities"])
    else:
        sandbox.answers_raw(**body)
    return _DONE


def _healthy(sandbox: "Sandbox", _body: Body, _query: Query) -> object:
    sandbox.healthy()
    return _DONE


def _drop(sandbox: "Sandbox", _body: Body, _query: Query) -> object:
    sandbox.drop_connections()
    return _DONE


def _reset(sandbox: "Sandbox", _body: Body, _query: Query) -> object:
    sandbox.reset()
    return _DONE


def _calls(sandbox: "Sandbox", _body: Body, query: Query) -> object:
    """``?path=`` and ``?person=`` narrow ``calls``."""
    return {
        "calls": sandbox.calls(query.get("path"), query.get("person")),
        "paths": sandbox.calls_by_path(),
        "connections": sandbox.connections,
        "accepted": sandbox.accepted,
    }


def _forget(sandbox: "Sandbox", _body: Body, _query: Query) -> object:
    sandbox.forget_calls()
    return _DONE


def _requests(sandbox: "Sandbox", _body: Body, query: Query) -> object:
    """The last requests, newest first, up to ``?limit=`` (100)."""
    latest = sandbox.requests[::-1][: int(query.get("limit", "100"))]
    names = ("method", "path", "query", "headers", "person")
    return [{name: getattr(each, name) for name in names} for each in latest]


ROUTES: dict[tuple[str, str], Route] = {
    ("GET", "/sandbox/people"): _people,
    ("POST", "/sandbox/token"): _token,
    ("POST", "/sandbox/revoke"): _revoke,
    ("POST", "/sandbox/rotate-keys"): _rotate,
    ("POST", "/sandbox/block"): _switch("block"),
    ("POST", "/sandbox/unblock"): _unblock,
    ("POST", "/sandbox/sign-in"): _switch("sign_in"),
    ("POST", "/sandbox/linking"): _switch("linking"),
    ("POST", "/sandbox/link"): _switch("link"),
    ("POST", "/sandbox/unlink"): _switch("unlink"),
    ("POST", "/sandbox/kick"): _kick,
    ("POST", "/sandbox/webhook"): _switch("webhook"),
    ("POST", "/sandbox/event"): _event,
    ("GET", "/sandbox/deliveries"): _deliveries,
    ("POST", "/sandbox/answers"): _answers,
    ("POST", "/sandbox/trouble"): _switch("trouble"),
    ("DELETE", "/sandbox/trouble"): _healthy,
    ("POST", "/sandbox/drop-connections"): _drop,
    ("POST", "/sandbox/reset"): _reset,
    ("GET", "/sandbox/calls"): _calls,
    ("DELETE", "/sandbox/calls"): _forget,
    ("GET", "/sandbox/requests"): _requests,
}
