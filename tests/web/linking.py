"""A page that links, and the person who clicks: through the sandbox's consent page and back."""

import io
import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import requests

LINKS = "/me/linked-accounts/links"
US, APP = "https://accounts.example", "https://app.example"
SETTINGS = {"PUBLIC_URL": US, "RETURN_TO_ORIGINS": f"{APP},com.example.app:/linked", "CHANGE_RATE_LIMIT": "off"}
BACK = f"{APP}/settings?tab=accounts"


class Person:
    """Somebody's page: ``client`` asks us, ``genauth`` is the sandbox."""

    def __init__(self, client, genauth, name):
        self.client, self.genauth = client, genauth
        self.headers = {"Authorization": f"Bearer {genauth.token(name)}"}
        self.id_token = genauth.token(name, kind="id")

    def begin(self, provider="my-github", *, headers=None, **members):
        body = {"provider": provider, "returnTo": BACK, "idToken": self.id_token} | members
        body = {name: value for name, value in body.items() if value is not None}
        return self.client.post(LINKS, json=body, headers=self.headers | (headers or {}))

    def outcome(self, state, **headers):
        return self.client.get(f"{LINKS}/{state}", headers=self.headers | headers)

    def accounts(self):
        return self.client.get("/me/linked-accounts", headers=self.headers).json["linkedAccounts"]


def decide(url, decision="continue"):
    """Where GenAuth sends the browser once the person has decided, and the fields of its form."""
    answer = requests.post(url, data={"decision": decision}, allow_redirects=False, timeout=5)
    if answer.status_code == 302:
        return answer.headers["Location"], None
    form = _Form()
    form.feed(answer.text)
    return form.action, form.fields


def come_back(client, address, fields, **headers):
    """Follow GenAuth back to us, as a browser does, without any session."""
    path = address.removeprefix(US)
    assert path != address, address
    if fields is None:
        return client.get(path, headers=headers)
    return client.post(path, data=fields, headers=headers)


def as_served(client, path, body, length="", **request):
    """The answer to a body as the real server hands it on: as much as arrived, and the length that was told, none for chunks."""
    environ = {"wsgi.input_terminated": True, "CONTENT_LENGTH": str(length)}
    return client.post(path, input_stream=io.BytesIO(body), environ_overrides=environ, **request)


def query_of(url):
    return {name: values[-1] for name, values in parse_qs(urlsplit(url).query).items()}


def shown_to_people(response):
    assert response.mimetype == "text/html"
    return re.search(r"<h1>(.*)</h1>", response.text)[1]


class _Form(HTMLParser):
    def __init__(self):
        super().__init__()
        self.action, self.fields = None, {}

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "form":
            self.action = attributes["action"]
        elif tag == "input":
            self.fields[attributes["name"]] = attributes["value"]
