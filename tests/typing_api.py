"""
A program that uses all of the public Python API: mypy checks it, and it is never run.
"""

from __future__ import annotations

import os
from collections.abc import Generator

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IProtocol,
    IReactorCore,
    IReactorProcess,
    IReactorTCP,
    IReactorTime,
    IReactorUNIX,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import optionsForClientTLS
from typing_extensions import assert_type

from twisted_tcpclient import (
    connection,
    dialects,
    dialogue,
    endpoints,
    errors,
    facts,
    plugin,
    race,
    registry,
    settings,
    testing,
    tls,
    ucspi,
)


class Reactor(IReactorCore, IReactorProcess, IReactorTCP, IReactorTime, IReactorUNIX):
    """The interfaces of a reactor that the API needs."""


def make(reactor: Reactor) -> list[IStreamClientEndpoint]:
    """Return an endpoint of each kind."""
    connecting = settings.ConnectSettings(attempt_delay=0.1, family=6)
    racing = race.RacingEndpoint(reactor, "mx.example.org", 25, connecting)
    socket = endpoints.SocketEndpoint(reactor, "/run/smtp", timeout=30.0)
    wanted = settings.TLSSettings.for_host("mx.example.org", authorities="ca.pem")
    assert_type(wanted, settings.TLSSettings)
    ours = tls.ConnectionCreator(wanted)
    theirs = optionsForClientTLS("mx.example.org")
    return [
        racing,
        socket,
        endpoints.secured(ours, racing, reactor, timeout=30),
        endpoints.secured(theirs, socket, reactor),
        endpoints.starttls("smtp", ours, racing, reactor, timeout=30, greeting=True),
        endpoints.starttls("xmpp", theirs, racing, reactor, host="example.org"),
        ucspi.UCSPIEndpoint(reactor, descriptors=(6, 7)),
    ]


RELAYING = settings.RelaySettings(idle=300, shutdown=settings.Shutdown.after(0))


async def use(reactor: Reactor, endpoint: IStreamClientEndpoint) -> int | None:
    """Connect, and use the connection."""
    connecting = connection.connect(reactor, endpoint)
    assert_type(connecting, Deferred[connection.Connection])
    try:
        connected: connection.Connection = await connecting
    except errors.ConnectFailed as error:
        tried: tuple[errors.Attempt, ...] = error.attempts
        return len([attempt.reason for attempt in tried])
    except (errors.NotOffered, errors.Refused, errors.InjectedData) as error:
        assert_type(error.server_text, bytes)
        return None
    except errors.NameMismatch:
        return None
    except errors.VerificationFailed as error:
        assert_type(error.reason, str)
        assert_type((error.code, error.depth), tuple[int, int])
        return None
    except errors.TCPClientError as error:
        assert_type(error.peer, object)
        return None
    known: facts.Facts = connected.facts
    session: facts.TLSFacts | None = known.tls
    if session is None:
        assert_type(await connected.relay(0, 1, RELAYING), None)
        return None
    told = facts.environment(os.environb, known, provider=True)
    assert_type(told, dict[bytes, bytes])
    outcome = await connected.run(["prog"], told, RELAYING)
    assert_type(outcome, connection.Outcome)
    assert_type(outcome.error, errors.TCPClientError | None)
    connected.abort()
    return outcome.status


def observe(protocol: Protocol) -> facts.Facts:
    """Return what is known of a connection from a protocol's transport."""
    assert protocol.transport is not None
    return connection.observe(protocol.transport)


def connect(endpoint: IStreamClientEndpoint) -> Deferred[IProtocol]:
    """Connect an endpoint as any other Twisted endpoint."""
    return endpoint.connect(Factory.forProtocol(Protocol))


#: The other errors of the API, which a program may catch.
OTHERS: tuple[type[errors.TCPClientError], ...] = (
    errors.SettingsError,
    errors.DescriptionError,
    errors.AddressNotFound,
    errors.LookupFailed,
    errors.TimedOut,
    errors.NegotiationFailed,
    errors.Preauthenticated,
    errors.BadReply,
    errors.Disconnected,
    errors.DialectFailed,
    errors.TLSFailed,
    errors.HandshakeFailed,
    errors.ConnectionBroken,
    errors.CutShort,
    errors.LeftUnsent,
    errors.LocalFailure,
)


def own(
    parameters: dialects.Parameters,
) -> Generator[dialects.Step, bytes, None]:
    """Yield the steps of a dialect that another package defines."""
    banner = yield dialects.LINE
    if banner != b"ready":
        raise errors.NotOffered("the server is not ready", banner)
    yield dialects.Send(b"tls %s\n" % parameters.host.encode())
    yield dialects.Bytes(1)


DIALECT = dialects.Dialect("own", 4000, "none", own)


def drive(data: bytes) -> bytes:
    """Run a dialect without a connection."""
    talk = dialogue.Conversation(lambda: own(dialects.Parameters()), "own", most=1000)
    said = talk.start() + talk.receive(data) + talk.hear(b"x", unread=b"")
    assert_type(said, bytes)
    assert_type(talk.missing, int)
    if talk.state is dialogue.State.FAILED:
        assert_type(talk.error, errors.NegotiationFailed | None)
    return talk.leftover


def check(transcript: str) -> bytes:
    """Test a dialect with a transcript."""
    talk = testing.Talk(DIALECT, testing.PARAMETERS)
    talk.play(transcript)
    said: list[testing.Segment] = testing.parse_transcript(transcript)
    assert_type(testing.join_turns(said), list[testing.Segment])
    for pieces in testing.cuts(said, tag=b"tag"):
        talk.hear(pieces[0])
    assert_type(said[0].by_server, bool)
    assert_type(said[0].tagged(b"tag"), bytes)
    assert_type((talk.agreed, talk.over, talk.unread), tuple[bool, bool, bytes])
    assert_type(talk.error, errors.NegotiationFailed | None)
    assert_type(talk.conversation, dialogue.Conversation)
    return talk.collect() + testing.client_bytes(transcript, tag=b"tag")


assert_type(dialects.NAMES, tuple[str, ...])
assert_type(registry.find("smtp"), dialects.Dialect)
assert_type(plugin.DialectPlugin("own", "own_dialect").module, str)
