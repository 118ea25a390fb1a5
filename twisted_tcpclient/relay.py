"""
Two ends joined: the network, and descriptors of our own.

What happens when one side ends:

- End of input on our side is a half-close.  The server is told (FIN, or
  close_notify over TLS), and what it still sends is delivered in full.  Many
  servers take close_notify for a hang-up and forget the reply they were about
  to send (Postfix answers QUIT so), so over TLS a conversation is ended only
  once the server has been quiet for a moment, or has talked for a minute.
- End of input from the server ends the session: what it sent is delivered, and
  our side is closed.
- Anything else is an error.  What was received before it is still delivered.

Each side is paused while the other is slow, so memory stays flat.  A session in
which nothing moves for too long is given up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fcntl import ioctl
from sys import byteorder
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.descriptors import Sink, Source
from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    LocalFailure,
    TCPClientError,
    TimedOut,
)
from twisted_tcpclient.report import os_reason

#: How long a server must be quiet to have no more to say, in seconds.
QUIET = 1.0
#: How long a server may talk before it is told that we have no more to say.
PATIENCE = 60.0
#: How long to wait for the server's close when nobody is left to hear it.
LINGER = 5.0
#: Whoever sends more than this is not in a conversation, in bytes.
CONVERSATION = 2**20

#: Tells an orderly end of a transport (None) from one that is an error.
Diagnosis = Callable[[Any, Failure], "Exception | None"]


def plain_diagnosis(transport: Any, reason: Failure) -> Exception | None:
    """What the end of a connection in clear means."""
    if reason.check(ConnectionDone):
        return None
    if reason.type is ConnectionLost:
        return ConnectionBroken("connection reset")
    return ConnectionBroken(str(reason.value))


@implementer(IHalfCloseableProtocol)
class Network(Protocol):
    """
    The network's end.

    It may be connected long before there is anything to join it to, and over
    TLS a paused transport still delivers what it has decrypted.  So it keeps
    what comes, and how it ends, until it is joined.
    """

    transport: Any

    def __init__(self, diagnose: Diagnosis) -> None:
        """:param diagnose: what the end of the connection means."""
        self._diagnose = diagnose
        self._early: list[Callable[[], None]] = []
        self._relay: Relay | None = None
        self._lost = False

    def connectionMade(self) -> None:
        """Hold back until joined."""
        self.transport.pauseProducing()

    def join(self, relay: Relay) -> None:
        """Deliver to that relay from now on, beginning with what has come."""
        self._relay = relay
        early, self._early = self._early, []
        for event in early:
            event()

    def dataReceived(self, data: bytes) -> None:
        """Pass it on, or keep it while there is no relay yet."""
        if self._relay is None:
            self._early.append(lambda: self.dataReceived(data))
        else:
            self._relay.received(data)

    def readConnectionLost(self) -> None:
        """The server has sent its FIN."""
        if self._relay is None:
            self._early.append(self.readConnectionLost)
        else:
            self._relay.network_ended()

    def writeConnectionLost(self) -> None:
        """Our own FIN is out."""

    def abort(self) -> None:
        """Give the connection up, if it is still there."""
        if not self._lost:
            self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone."""
        self._lost = True
        if self._relay is None:
            self._early.append(lambda: self.connectionLost(reason))
        else:
            self._relay.network_lost(self._diagnose(self.transport, reason))


class Idle:
    """
    Calls when nothing has moved for a while.

    It looks now and then at what has been done instead of being told of each
    byte: that costs the bytes nothing, and sees those move that the kernel
    still holds.
    """

    #: How often to look in the time that is waited for.
    LOOKS = 8

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float | None,
        progress: Callable[[], object],
        expired: Callable[[], None],
    ) -> None:
        """
        :param seconds: None never to call.
        :param progress: returns something else whenever something has moved.
        """
        self._clock = clock
        self._seconds = seconds
        self._progress = progress
        self._expired = expired
        self._seen = progress()
        self._since = clock.seconds()
        self._call: IDelayedCall | None = None
        self._wait()

    def _wait(self) -> None:
        if self._seconds is not None:
            pause = self._seconds / self.LOOKS
            self._call = self._clock.callLater(pause, self._look)

    def _look(self) -> None:
        now, seen = self._clock.seconds(), self._progress()
        if seen != self._seen:
            self._seen, self._since = seen, now
        if self._seconds is not None and now - self._since >= self._seconds:
            self._expired()
        else:
            self._wait()

    def stop(self) -> None:
        """Never call."""
        self._seconds = None
        if self._call is not None and self._call.active():
            self._call.cancel()


def unsent(transport: Any) -> int:
    """How many bytes the kernel still holds for the peer, where it tells."""
    try:
        held = ioctl(transport.fileno(), TIOCOUTQ, bytes(4))
    except (OSError, ValueError):
        return 0
    return int.from_bytes(held, byteorder)


@implementer(IPushProducer)
class _Tap:
    """
    The network as the producer for our side.

    :ivar stalled: whether our side is slow: then the server is not quiet, it is
        not listened to.
    """

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.stalled = False

    def pauseProducing(self) -> None:
        """Our side is slow."""
        self.stalled = True
        self._transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Our side is ready."""
        self.stalled = False
        self._transport.resumeProducing()

    def stopProducing(self) -> None:
        """Our side is gone; what that means is decided elsewhere."""


@dataclass(frozen=True)
class Local:
    """
    Our own side.

    :ivar reading: the descriptor to read from; closed in the end.
    :ivar writing: the one to write to, non-blocking; closed in the end.
    :ivar reads: what is read from, for messages.
    :ivar writes: what is written to, for messages.
    :ivar needed: whether it is an error if nobody takes what the server sends.
        A prog may close 6 and go on writing to 7.
    """

    reading: int
    writing: int
    reads: str
    writes: str
    needed: bool


class Relay:
    """
    Joins a network's end and two descriptors until both are done.

    :ivar finished: fires with None after an orderly end, or fails with a
        :class:`twisted_tcpclient.errors.TCPClientError`.
    """

    def __init__(
        self,
        reactor: Any,
        network: Network,
        local: Local,
        *,
        secure: bool,
        idle: float | None,
        translate: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """
        :param secure: whether the network's transport is TLS.
        :param idle: seconds without progress until the session is given up.
        :param translate: applied to what is read before it is sent.
        """
        self._transport: Any = network.transport
        self._local = local
        self._secure = secure
        self._error: Exception | None = None
        self._connected = True
        self._clock: IReactorTime = reactor
        self._sent = self._received = 0
        self._held = 0
        self._left = False
        #: The next step towards the end that waits for its time.
        self._later: IDelayedCall | None = None
        self._latest = 0.0
        self._tap = _Tap(self._transport)
        self.finished: Deferred[None] = Deferred(self._cancelled)
        send = self._send if translate is None else self._translating(translate)
        self._source = Source(reactor, local.reading, send, self._source_ended)
        self._sink: Sink | None = Sink(reactor, local.writing, self._sink_ended)
        self._idle = Idle(reactor, idle, self._progress, self._expired)
        self._transport.registerProducer(self._source, True)
        self._sink.registerProducer(self._tap, True)
        network.join(self)
        self._source.resumeProducing()
        self._transport.resumeProducing()

    # From the network.

    def received(self, data: bytes) -> None:
        """The server has sent something."""
        if self._sink is None:
            # Nobody reads any more.
            return
        self._received += len(data)
        self._sink.write(data)
        if self._later is not None:
            left = self._latest - self._clock.seconds()
            self._later.reset(max(0, min(QUIET, left)))

    def network_ended(self) -> None:
        """The server will send no more, in good order."""
        self._source.close()
        self._close_sink()
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def network_lost(self, error: Exception | None) -> None:
        """The connection is gone, in good order (None) or not."""
        self._connected = False
        self._source.close()
        if not (self._left or (isinstance(error, CutShort) and self._sink is None)):
            # Where nobody reads any more, nothing can have been cut off.
            self._error = self._error or error
        self._close_sink()
        self._check()

    # From our side.

    def _send(self, data: bytes) -> None:
        self._sent += len(data)
        self._transport.write(data)

    def _translating(
        self, translate: Callable[[bytes], bytes]
    ) -> Callable[[bytes], None]:
        return lambda data: self._send(translate(data))

    def _source_ended(self, error: OSError | None) -> None:
        if error is not None:
            why = os_reason(error)
            self._fail(LocalFailure(f"unable to read {self._local.reads}: {why}"))
            return
        # A registered producer would keep the close from ever happening.
        self._transport.unregisterProducer()
        if self._sink is None:
            self._say_goodbye()
        elif not self._secure:
            self._transport.loseWriteConnection()
        elif self._sent > CONVERSATION:
            self._say_goodbye()
        else:
            self._latest = self._clock.seconds() + PATIENCE
            self._wait(QUIET, self._quiet)

    def _quiet(self) -> None:
        """The server has been quiet, or was not listened to."""
        if self._tap.stalled:
            self._wait(QUIET, self._quiet)
        else:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """
        Say close_notify, and go on reading; in clear, where this is said only when
        nobody reads any more, close.

        The FIN of a half-close below TLS would say "cut short" instead.
        """
        self._forget_later()
        self._transport.loseConnection()
        if self._sink is None and self._connected:
            self._wait(LINGER, self._leave)

    def _leave(self) -> None:
        """
        Nobody is left, and the server does not close: go, as soon as it has all
        that was sent, or takes no more of it.
        """
        self._later = None
        held = unsent(self._transport)
        if held and held != self._held:
            self._held = held
            self._wait(LINGER, self._leave)
        elif held:
            self._fail(ConnectionBroken("the server does not take what was sent"))
        else:
            self._left = True
            self._transport.abortConnection()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._later = self._clock.callLater(seconds, then)

    def _forget_later(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()

    def _sink_ended(self, error: OSError | None) -> None:
        self._sink = None
        if error is None or not self._local.needed:
            if self._connected and self._source.fileno() < 0:
                self._say_goodbye()
            self._discard()
            self._check()
        else:
            why = os_reason(error)
            self._fail(LocalFailure(f"unable to write {self._local.writes}: {why}"))

    def _discard(self) -> None:
        """Nobody reads any more: let the server go on, as it may be listening."""
        if self._connected:
            self._transport.resumeProducing()

    def _close_sink(self) -> None:
        """Close it once all is written."""
        if self._sink is not None:
            if self._sink.producer is not None:
                self._sink.unregisterProducer()
            self._sink.loseConnection()

    # The end.

    def _progress(self) -> tuple[int, ...]:
        """What has moved so far, in either direction and at either end."""
        written = 0 if self._sink is None else self._sink.written
        kernel = unsent(self._transport) if self._connected else 0
        return self._sent, self._received, written, kernel

    def _expired(self) -> None:
        self._idle.stop()
        self._fail(TimedOut("timed out: nothing was sent or received"))

    def _cancelled(self, finished: Deferred[None]) -> None:
        self._fail(ConnectionBroken("cancelled"))

    def _fail(self, error: TCPClientError) -> None:
        """Give up on both sides."""
        self._error = self._error or error
        self._source.close()
        if self._sink is not None:
            self._sink.close()
            self._sink = None
        if self._connected:
            self._forget_later()
            self._transport.abortConnection()
        self._check()

    def _check(self) -> None:
        """Finish once neither side has anything left to do."""
        if self._connected or self._sink is not None:
            return
        self._idle.stop()
        self._forget_later()
        if not self.finished.called:
            if self._error is None:
                self.finished.callback(None)
            else:
                self.finished.errback(self._error)


def crlf() -> Callable[[bytes], bytes]:
    """A function that turns LF into CRLF, and remembers where it was."""
    last = b""

    def translate(data: bytes) -> bytes:
        nonlocal last
        joined = last + data
        # CRLF stays what it is, even where a chunk ends within it.
        translated = joined.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        result = translated[len(last) :]
        last = b"\r" if joined.endswith(b"\r") else b""
        return result

    return translate
