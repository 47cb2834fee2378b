"""Whom the transport believes to be GenAuth."""

from bff.errors import UpstreamUnavailable
from bff.genauth.transport import Transport
from bff.resilience.deadline import Deadline
from tests.genauth.conftest import GET, OK, fails


def test_a_certificate_of_an_unknown_authority_is_refused(serve, certificates, transport):
    server = serve(context=certificates["ours"][0])

    error, _ = fails(transport, server.url)

    assert type(error) is UpstreamUnavailable
    assert "SSLCertVerificationError" in error.note
    assert server.requests == []


def test_with_its_bundle_it_is_accepted(serve, certificates):
    context, bundle = certificates["ours"]
    transport = Transport(ca_bundle=bundle)

    assert transport.send(serve(context=context).url, GET, Deadline.after(1)).status == 200
    transport.close()


def test_a_certificate_of_another_host_is_refused_even_with_its_bundle(serve, certificates):
    context, bundle = certificates["wrong-name"]
    transport, server = Transport(ca_bundle=bundle), serve(context=context)

    error, _ = fails(transport, server.url)

    assert "SSLCertVerificationError" in error.note
    assert server.requests == []
    transport.close()


def test_the_environment_cannot_turn_it_off(serve, certificates, monkeypatch):
    context, bundle = certificates["ours"]
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    monkeypatch.setenv("CURL_CA_BUNDLE", bundle)
    transport = Transport()

    assert type(fails(transport, serve(context=context).url)[0]) is UpstreamUnavailable
    transport.close()


def test_a_plain_server_behind_https_is_unavailable(serve, transport):
    def behave(_server, connection, _number):
        connection.recv(4096)
        connection.sendall(OK)

    error, _ = fails(transport, serve(behave).url.replace("http:", "https:"))

    assert isinstance(error, UpstreamUnavailable)
