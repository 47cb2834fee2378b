"""Every way of going wrong, as a client meets it."""

import gzip
import json
import time

import pytest
import requests
import urllib3

from bff.sandbox.malformed import NAMES
from tests.timing import in_time

IDENTITIES = "/api/v3/get-identities"


def test_latency_comes_before_the_answer(ask, genauth):
    genauth.trouble(latency=0.2)
    started = time.monotonic()

    assert ask("nia").json()["data"] == []
    assert time.monotonic() - started >= 0.2


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 599])
def test_a_gateways_page_has_a_real_status(status, ask, genauth):
    genauth.trouble(status=status)
    response = ask("mei")

    assert response.status_code == status
    assert response.headers["Content-Type"].startswith("text/html")
    assert "Retry-After" not in response.headers


def test_retry_after_comes_when_asked_for(ask, genauth):
    genauth.trouble(status=429, retry_after=7)

    assert ask("mei").headers["Retry-After"] == "7"


def test_a_redirect_points_elsewhere(ask, genauth):
    genauth.trouble(status=302)

    assert ask("mei").headers["Location"] == "https://elsewhere.example/login"


@pytest.mark.parametrize("code", [429, 500, 503, 601, "503"])
def test_an_envelope_says_no_with_http_200(code, ask, genauth):
    genauth.trouble(envelope=code)
    response = ask("mei")

    assert (response.status_code, response.json()["statusCode"]) == (200, code)
    assert "data" not in response.json()


def test_an_envelope_can_be_given_whole(ask, genauth):
    genauth.trouble(envelope={"statusCode": 401, "apiCode": "2020"})

    assert ask("mei").json() == {"statusCode": 401, "apiCode": "2020"}


def test_the_true_envelope_can_be_changed(ask, genauth):
    genauth.trouble(change={"statusCode": "200"})
    text = ask("mei").json()
    genauth.healthy()
    genauth.trouble(change={"data": None}, drop=["message"])
    empty = ask("mei").json()
    genauth.healthy()
    genauth.trouble(drop=["data"])

    assert (text["statusCode"], len(text["data"])) == ("200", 5)
    assert (empty["data"], "message" in empty) == (None, False)
    assert "data" not in ask("mei").json()


NOT_JSON = {"truncated-json", "html", "empty", "huge-number", "invalid-utf8"}


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"gzip-bomb"}))
def test_a_malformed_body_arrives_as_it_is(name, ask, genauth):
    genauth.trouble(malformed=name)
    body = ask("mei").content

    try:
        json.loads(body)
    except (ValueError, RecursionError):
        readable = False
    else:
        readable = True
    assert readable == (name not in NOT_JSON | {"deep"})


def test_an_oversized_body_has_five_mebibytes(ask, genauth):
    genauth.trouble(malformed="oversized")

    assert len(ask("mei").content) > 5 * 1024 * 1024


def test_a_gzip_bomb_is_small_on_the_wire_and_was_not_asked_for(ask, genauth):
    genauth.trouble(malformed="gzip-bomb")
    response = ask("mei", headers={"Accept-Encoding": "identity"}, stream=True)
    packed = response.raw.read(decode_content=False)
    # A gzip file may have several members (RFC 1952 2.2): unpacking one in the middle tells the size of them all.
    members = packed.split(b"\x1f\x8b\x08")

    assert response.headers["Content-Encoding"] == "gzip"
    assert len(packed) < 1024 * 1024
    assert len(members) - 1 == 258
    assert len(gzip.decompress(b"\x1f\x8b\x08" + members[100])) == 1024 * 1024


@pytest.mark.parametrize("compress", ["gzip", "deflate"])
def test_an_answer_is_compressed_though_plain_was_asked_for(compress, ask, genauth):
    genauth.trouble(compress=compress)
    response = ask("mei", headers={"Accept-Encoding": "identity"})

    assert response.headers["Content-Encoding"] == compress
    assert len(response.json()["data"]) == 5
    with pytest.raises(ValueError, match="compress is one of gzip, deflate, not 'br'"):
        genauth.trouble(compress="br")


def test_a_body_of_ones_own(ask, genauth):
    genauth.answers_raw(IDENTITIES, status=207, body=b"\x00\x01", headers={"X-Any": "thing", "Content-Type": "text/x"})
    response = ask("mei")

    assert (response.status_code, response.content) == (207, b"\x00\x01")
    assert (response.headers["X-Any"], response.headers["Content-Type"]) == ("thing", "text/x")


def test_a_cookie_is_set_on_the_true_answer(ask, genauth):
    genauth.trouble(set_cookie="session=mei; Path=/")
    response = ask("mei")

    assert response.cookies["session"] == "mei"
    assert len(response.json()["data"]) == 5


def hello(sock, genauth, person="nia"):
    sock.sendall(f"GET {IDENTITIES} HTTP/1.1\r\nHost: x\r\nAuthorization: {genauth.token(person)}\r\n\r\n".encode())


def pieces(sock, until):
    """What arrives, one recv at a time, until the bytes received end that way."""
    received = []
    while not b"".join(received).endswith(until):
        received.append(sock.recv(65536))
        assert received[-1], "closed"
    return received


def test_headers_are_dripped(genauth, raw):
    genauth.trouble(drip_headers=0.002)
    sock = raw()
    hello(sock, genauth)

    assert len(pieces(sock, b'"data":[]}')) > 40


def test_a_body_is_dripped(ask, genauth, raw):
    genauth.trouble(drip_body=0.002)
    sock = raw()
    hello(sock, genauth)

    assert len(pieces(sock, b'"data":[]}')) > 40
    assert ask("nia").json()["data"] == []


def test_a_hanging_answer_never_comes(ask, genauth):
    genauth.trouble(ending="hang")

    with pytest.raises(requests.ReadTimeout):
        ask("mei", timeout=0.2)
    assert genauth.calls(IDENTITIES) == 1


def test_a_body_can_hang_after_its_headers(ask, genauth):
    genauth.trouble(ending="hang-after-headers")

    with pytest.raises(requests.ConnectionError, match="Read timed out"):
        ask("mei", timeout=0.2)


def test_a_connection_is_closed_without_an_answer(ask, genauth):
    genauth.trouble(ending="close")

    with pytest.raises(requests.ConnectionError, match="RemoteDisconnected"):
        ask("mei")


def test_a_connection_is_reset(genauth, raw):
    genauth.trouble(ending="reset")
    sock = raw()
    hello(sock, genauth)

    with pytest.raises(ConnectionResetError):
        sock.recv(1)


def test_a_body_is_shorter_than_its_content_length(ask, genauth):
    genauth.trouble(ending="truncate")

    with pytest.raises(requests.exceptions.ChunkedEncodingError) as caught:
        ask("mei")
    assert isinstance(caught.value.args[0], urllib3.exceptions.ProtocolError)


def test_hundreds_of_hanging_connections_leave_the_others_quick(ask, genauth, raw):
    genauth.trouble(person="omar", ending="hang")
    for _ in range(300):
        hello(raw(), genauth, "omar")
    started = time.monotonic()

    assert len(ask("mei").json()["data"]) == 5
    in_time(time.monotonic() - started, 2)


def test_trouble_keeps_to_its_path_and_its_person(ask, genauth):
    genauth.trouble(path=IDENTITIES, person="mei", status=500)

    assert ask("mei").status_code == 500
    assert ask("omar").status_code == ask("mei", "/api/v3/get-profile").status_code == 200


def test_trouble_ends_after_so_many_times(ask, genauth):
    genauth.trouble(status=503, times=2)

    assert [ask("mei").status_code for _ in range(4)] == [503, 503, 200, 200]


def test_trouble_strikes_a_share_of_the_requests(ask, genauth):
    genauth.trouble(status=503, share=0.5)
    struck = [ask("nia").status_code for _ in range(100)].count(503)

    assert 30 < struck < 70


def test_troubles_add_up_and_healthy_ends_them(ask, genauth):
    genauth.trouble(latency=0.1)
    genauth.trouble(status=503, retry_after=3)
    started = time.monotonic()
    response = ask("mei")
    genauth.healthy()

    assert (response.status_code, response.headers["Retry-After"]) == (503, "3")
    assert time.monotonic() - started >= 0.1
    assert ask("mei").status_code == 200


def test_an_answer_that_is_replaced_does_no_work_and_one_that_is_lost_does(genauth, http):
    url, headers = f"{genauth.url}/api/v3/unlink-extidp", {"Authorization": genauth.token("omar")}
    rows = http.get(genauth.url + IDENTITIES, headers=headers, timeout=5).json()["data"]

    def unlink(row):
        http.post(url, json={"extIdpId": row["extIdpId"]}, headers=headers, timeout=5)

    genauth.trouble(path="/api/v3/unlink-extidp", status=502, times=1)
    unlink(rows[0])
    genauth.trouble(path="/api/v3/unlink-extidp", ending="close")
    with pytest.raises(requests.ConnectionError):
        unlink(rows[-1])

    left = http.get(genauth.url + IDENTITIES, headers=headers, timeout=5).json()["data"]
    assert [row["provider"] for row in left] == ["google"]


@pytest.mark.parametrize("how", [{"latencey": 1}, {"malformed": "slightly"}, {"ending": "happily"}])
def test_a_trouble_that_does_not_exist_is_not_taken_for_health(how, genauth):
    with pytest.raises(ValueError, match=r"no such trouble|is one of"):
        genauth.trouble(**how)
