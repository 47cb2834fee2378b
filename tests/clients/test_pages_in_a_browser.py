"""Pages on other origins in a real browser, which adds header fields, preflights and cookies of its own."""

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from bff.sandbox import sources
from tests.clients.conftest import HERE
from tests.server.service import Service, eventually
from tests.valkey import free_port

README = Path(__file__).parents[2] / "README.md"
WECHAT = sources.WECHAT.id
IDENTITIES = "/api/v3/get-identities"
CHROMIUM = shutil.which("chromium")

pytestmark = [pytest.mark.server, pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")]

# What Sentry, OpenTelemetry and Datadog put on every call.
TRACING = {
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "tracestate": "dd=s:1",
    "baggage": "sentry-environment=production",
    "sentry-trace": "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
    "x-datadog-trace-id": "1234567890",
}
ASKED = {"X-Requested-With": "fetch"}


class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        body = b"<!doctype html><meta charset=utf-8><title>A page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def pages():
    """The address of a page, on a port of its own."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def browser(npm_packages):
    """Do a step of `browser.js`."""
    folder = Path(tempfile.mkdtemp(prefix="b"))  # a short path: a unix socket's has 107 characters at most
    temporary = dict.fromkeys(("HOME", "TMPDIR", "XDG_RUNTIME_DIR"), str(folder))
    with (folder / "printed").open("w+") as printed:
        process = subprocess.Popen(
            ["node", "browser.js", CHROMIUM, str(folder / "profile")],
            cwd=HERE,
            env={**os.environ, **temporary},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            start_new_session=True,
        )

        def do(**step):
            process.stdin.write(json.dumps(step) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
            assert line, (folder / "printed").read_text()
            result = json.loads(line)
            return SimpleNamespace(**{"status": None, "headers": {}, "text": "", "error": None} | (result or {}))

        yield do
        process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        process.kill()
        process.wait()
        process.stdout.close()
        # The browser's own processes are in a session of theirs, and the last of them ends a moment after it.
        with suppress(AssertionError):
            eventually(lambda: not of_the_browser(folder), within=5)
        for pid in of_the_browser(folder):
            os.kill(pid, signal.SIGKILL)
    shutil.rmtree(folder, ignore_errors=True)


def of_the_browser(folder):
    """The processes with that profile."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(folder / "profile").encode() in path.read_bytes():
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def service(environ, pages, tmp_path):
    port = free_port()
    settings = {
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "RETURN_TO_ORIGINS": f"http://127.0.0.1:{pages}",
        "CORS_ORIGINS": f"http://127.0.0.1:{pages}",
        "SESSION_COOKIE_NAME": "sid",
        "WEB_CONCURRENCY": "1",
        "LOCAL_CACHE_SECONDS": "30",
    }
    service = Service({**environ, **settings}, tmp_path / "output")
    try:
        eventually(service.is_ready, within=20)
        yield service
    finally:
        service.clear_away()


def test_a_page_that_is_listed_gets_all_that_the_contract_promises(browser, service, pages, genauth):
    token = genauth.token("mei")
    signed_in = {"Authorization": f"Bearer {token}"}

    def ask(path="/me/linked-accounts", **options):
        return browser(fetch=[service.url + path, options])

    def asked():
        return genauth.calls(IDENTITIES)

    browser(page=f"http://127.0.0.1:{pages}/")
    first = ask(headers=signed_in | TRACING)
    assert first.status == 200, (first.error, service.printed())
    assert json.loads(first.text)["meta"]["total"] == 2
    assert "微信" in first.text, "the browser's own Accept-Language"

    # The browser adds Cache-Control and Pragma by itself; the answer is older than what a refresh would leave alone.
    time.sleep(2.1)
    again = ask(headers=signed_in | TRACING | {"If-None-Match": first.headers["etag"]})
    assert again.status == 304
    for cache in ("no-store", "no-cache", "reload"):
        assert ask(headers=signed_in, cache=cache).status == 200
    assert asked() == 1
    assert ask("/me/linked-accounts?refresh=true", headers=signed_in).status == 200
    assert asked() == 2

    for wrong in ("/me/linked-accounts/", "/api/me/linked-accounts"):
        assert (found := ask(wrong, headers=signed_in | TRACING)).status == 404, found.error
    posted = ask(method="POST", headers=signed_in)
    assert (posted.status, posted.headers["allow"]) == (405, "GET, HEAD, OPTIONS")

    signed_out = ask(headers=TRACING)
    assert signed_out.headers["www-authenticate"] == "Bearer"
    assert (signed_out.status, json.loads(signed_out.text)["code"]) == (401, "token_missing")
    assert signed_out.headers["content-language"] == "zh"
    assert json.loads(signed_out.text)["title"] == "请登录以查看已绑定的账号。"

    # Cookies know no ports: the page's are sent to the service.
    cookie = {"credentials": "include", "headers": ASKED | TRACING}
    browser(cookies=[f"sid={token}; Path=/", f"sid={token}; Path=/me"])
    assert ask(**cookie).status == 200
    unmarked = ask(credentials="include")
    assert (unmarked.status, json.loads(unmarked.text)["code"]) == (403, "csrf_header_missing")
    browser(cookies=["nick=小明; Path=/"])
    neighbour = ask(**cookie)
    assert (neighbour.status, json.loads(neighbour.text)["code"]) == (400, "invalid_request")
    assert "ASCII" in json.loads(neighbour.text)["detail"]


def test_a_page_that_is_not_listed_can_read_the_contract_and_nothing_else(browser, service, pages, genauth):
    browser(page=f"http://localhost:{pages}/")

    document = browser(fetch=[f"{service.url}/openapi.json", {"headers": TRACING}])
    assert json.loads(document.text)["paths"]["/me/linked-accounts"]["get"]["operationId"] == "listLinkedAccounts"
    for code, path in (("token_missing", "/problems/token-missing"), ("not_found", "/problems/nothing")):
        assert code in browser(fetch=[f"{service.url}{path}", {}]).text

    headers = {"Authorization": f"Bearer {genauth.token('mei')}"}
    for options in ({"headers": headers}, {"headers": ASKED, "credentials": "include"}, {}):
        assert browser(fetch=[f"{service.url}/me/linked-accounts", options]).error.startswith("TypeError")
    assert genauth.calls(IDENTITIES) == 0


def test_a_page_links_accounts_in_a_popup_and_by_going_there(browser, service, pages, genauth):
    page = f"http://127.0.0.1:{pages}/settings"
    headers = {"Authorization": f"Bearer {genauth.token('mei')}", "Content-Type": "application/json"}

    def ask(path, **options):
        answer = browser(fetch=[f"{service.url}/me/linked-accounts{path}", {"headers": headers} | options])
        return SimpleNamespace(status=answer.status, error=answer.error, json=json.loads(answer.text or "null"))

    def begin(provider, **more):
        body = {"provider": provider, "idToken": genauth.token("mei", kind="id"), **more}
        begun = ask("/links", method="POST", body=json.dumps(body))
        assert begun.status == 201, (begun.error, begun.json, service.printed())
        return begun.json

    browser(page=page)
    link = begin("my-github")
    assert browser(popup=link["url"], click="Continue").text == "closed"
    assert ask(f"/links/{link['state']}").json["status"] == "linked"

    link = begin("my-google", returnTo=page)
    browser(page=link["url"])
    back = browser(click="Continue", until=page)
    assert back.text == f"{page}?link=returned&state={link['state']}"
    assert ask(f"/links/{link['state']}").json["status"] == "linked"

    link = begin("my-qq", returnTo=page)
    browser(page=link["url"])
    assert "link=failed" in browser(click="Cancel", until=page).text
    outcome = ask(f"/links/{link['state']}").json
    assert outcome["status"] == "failed"
    assert [each["provider"]["type"] for each in outcome["linkedAccounts"]] == ["github", "google", "lark", "wechat"]


COUNTING = """
const statuses = [], lists = [], show = (list) => lists.push(list.linkedAccounts.length), ask = window.fetch;
window.fetch = async (...question) => {
  const response = await ask(...question);
  statuses.push(response.status);
  return response;
};
const turn = (state) => {
  Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
};
"""


def test_a_page_that_stays_open_asks_again_as_the_readme_says(browser, service, pages, genauth):
    (snippet,) = re.findall(r"```js\n(.*?)```", README.read_text(), re.DOTALL)
    token = genauth.token("mei")
    page = f"const SERVICE = {json.dumps(service.url)}, token = async () => {json.dumps(token)};"

    def seen():
        return json.loads(browser(value="({statuses, lists})").text)

    def looked(times):
        """Wait until the page has asked so many times more."""
        before = len(seen()["statuses"])
        eventually(lambda: len(seen()["statuses"]) >= before + times, within=10)

    browser(page=f"http://127.0.0.1:{pages}/")
    browser(script=page + COUNTING + snippet.replace("30_000", "50"))
    looked(2)
    told = seen()
    assert (told["statuses"][0], set(told["statuses"][1:]), told["lists"]) == (200, {304}, [2])

    requests.delete(f"{service.url}/me/linked-accounts/{WECHAT}", headers={"Authorization": f"Bearer {token}"}, timeout=15)
    looked(3)
    assert seen()["lists"] == [2, 1]

    browser(value="turn('hidden')")
    time.sleep(0.2)
    hidden = len(seen()["statuses"])
    time.sleep(0.3)
    assert len(seen()["statuses"]) == hidden, "a page that nobody sees asks nothing"
    browser(value="turn('visible')")
    looked(2)
    assert set(seen()["statuses"]) == {200, 304}
