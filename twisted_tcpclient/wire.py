"""
The network's end, taken out of Twisted's hands once it is connected.

Twisted connects, negotiates and does the handshake.  Then bytes are to move as
fast as the kernel and OpenSSL can move them, without a transport's buffers: the
socket is taken out of its transport, and with it the session from TLS.
"""

from __future__ import annotations

import errno
import os
import socket
import typing
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from struct import pack
from sys import byteorder
from termios import TIOCOUTQ
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IPullProducer,
    IPushProducer,
    IReactorTime,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_tcpclient.descriptors import CHUNK, Read, Watch
from twisted_tcpclient.errors import ConnectionBroken, CutShort
from twisted_tcpclient.movers import Copy, Mover, mover, writer


class Records(typing.Protocol):
    """What makes records of TLS: :class:`twisted_tcpclient.tls.Records`."""

    ended: Exception | None

    def decrypt(self, data: bytes) -> list[bytes]:
        """All that can be read once these bytes have come."""

    def encrypt(self, data: bytes) -> bytes:
        """The records for that."""

    def close_notify(self) -> bytes:
        """What tells the server that nothing more will be sent."""

    def pending(self) -> bytes:
        """What TLS has to send."""


#: Tells an orderly end of a transport (None) from one that is an error.
Diagnosis = Callable[[Any, Failure], "Exception | None"]


def take(transport: Any) -> socket.socket:
    """
    Take the socket out of a TCP or UNIX transport.

    Nothing may be left in the transport to be written.  It is left without a
    socket, so that neither its end nor the reactor's shuts the connection down.
    """
    transport.stopReading()
    transport.stopWriting()
    handle: socket.socket = transport.getHandle()
    taken = socket.socket(fileno=handle.detach())
    taken.setblocking(False)
    transport.abortConnection()
    return taken


def plain_diagnosis(transport: Any, reason: Failure) -> Exception | None:
    """What the end of a connection in clear means."""
    if reason.check(ConnectionDone):
        return None
    if reason.type is ConnectionLost:
        return ConnectionBroken("connection reset")
    return ConnectionBroken(str(reason.value))


@implementer(IPullProducer)
class _Flushed:
    """Calls once a transport has written all it was given."""

    def __init__(self, transport: Any, then: Callable[[], None]) -> None:
        self._transport = transport
        self._then = then
        self._asked = False
        transport.registerProducer(self, False)
        transport.startWriting()

    def resumeProducing(self) -> None:
        """Asked for more: at once, and then when nothing is left to write."""
        if not self._asked:
            self._asked = True
        else:
            self._transport.unregisterProducer()
            self._then()

    def stopProducing(self) -> None:
        """The transport is gone, which is told to its protocol."""


@implementer(IHalfCloseableProtocol)
class Network(Protocol):
    """
    Holds a connection until somebody has a use for it.

    Over TLS something may come before that.  So it keeps what comes, and how
    the connection ends.
    """

    transport: Any

    def __init__(self, diagnose: Diagnosis) -> None:
        """:param diagnose: what the end of the connection means."""
        self._diagnose = diagnose
        self._records: Callable[[Any], Records] | None = None
        self._early: list[bytes] = []
        self._lost = False
        self._error: Exception | None = None
        self._waiting: Deferred[Wire] | None = None
        self._wire: Wire | None = None
        self._lent: _Lent | None = None
        self._finished = False

    def connectionMade(self) -> None:
        """Hold back."""
        self.transport.pauseProducing()

    def dataReceived(self, data: bytes) -> None:
        """Keep it, or pass it on."""
        if self._lent is None:
            self._early.append(data)
        else:
            self._lent.received(data)

    def readConnectionLost(self) -> None:
        """The server has sent its FIN."""
        if self._lent is None:
            self._finished = True
        else:
            self._lent.ended(None)

    def writeConnectionLost(self) -> None:
        """Our own FIN is out."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone, or has been given away."""
        if self._wire is not None:
            return
        self._lost = True
        self._error = self._diagnose(self.transport, reason)
        if self._lent is not None:
            self._lent.lost(self._error)
        self._settled()

    def lend(self, clock: IReactorTime, secure: bool) -> Wire:
        """
        Let the connection be used as it is, in Twisted's hands.

        :param secure: whether it is TLS.
        """
        self._lent = _Lent(clock, self.transport, self._early, secure)
        if self._lost:
            self._lent.lost(self._error)
        elif self._finished:
            self._lent.ended(None)
        return self._lent

    def release(
        self, records: Callable[[Any], Records] | None = None
    ) -> Deferred[Wire]:
        """
        Give the connection away; it may have ended by then.

        It is a TCP or UNIX socket, from which nobody has read, or one that
        :func:`twisted_tcpclient.endpoints.secured` has secured.

        :param records: makes the records of such a session of TLS.
        """
        self._records = records
        self._waiting = Deferred()
        waiting = self._waiting
        if self._lost or self._records is None:
            self._settled()
        elif not self.transport.transport.disconnecting:
            # The end of the handshake may not be out yet.
            _Flushed(self.transport.transport, self._settled)
        return waiting

    def abort(self) -> None:
        """Give the connection up, whoever has it, if it is still there."""
        if self._wire is not None:
            self._wire.abort()
        elif not self._lost:
            self.transport.abortConnection()

    def _settled(self) -> None:
        """Nothing is left to be done in Twisted's hands."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            self._wire = self._taken()
            waiting.callback(self._wire)

    def _taken(self) -> Wire:
        if self._lost:
            return _Ended(self._early, self._error)
        if self._records is None:
            return Wire(take(self.transport))
        session = self._records(self.transport.getHandle())
        self.transport.release()
        return _Secure(take(self.transport.transport), session, self._early)


class Wire:
    """
    A connection in clear that is ours alone.

    :ivar secure: whether this is TLS.
    """

    secure = False

    def __init__(self, connected: socket.socket) -> None:
        """:param connected: does not block."""
        self._socket = connected

    def fileno(self) -> int:
        """The socket's descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def watch(
        self,
        reactor: Any,
        readable: Callable[[], None],
        writable: Callable[[], None],
    ) -> Watch:
        """What tells when something has come, and when more can be sent."""
        return Watch(reactor, self.fileno(), readable, writable)

    def download(self, sink: int, fast: bool) -> Mover:
        """What moves what comes to that descriptor."""
        copy = Copy(self._receive, writer(sink))
        return mover(self.fileno(), sink, copy) if fast else copy

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """What sends what is read."""
        copy = Copy(read, writer(self.fileno()))
        return mover(source, self.fileno(), copy) if fast else copy

    def on_reply(self, push: Callable[[bytes], None]) -> None:
        """Have that called with what is to be sent though nobody asked for it."""

    def end(self) -> None:
        """Tell the server that no more will be sent."""
        self._shut(socket.SHUT_WR)

    def break_off(self) -> None:
        """Let nothing more come than what has come."""
        self._shut(socket.SHUT_RDWR)

    def unsent(self) -> int:
        """How many bytes the kernel still holds for the peer, where it tells."""
        try:
            held = ioctl(self._socket, TIOCOUTQ, bytes(4))
        except (OSError, ValueError):
            return 0
        return int.from_bytes(held, byteorder)

    def close(self, then: Callable[[], None]) -> None:
        """Close in good order, and call that once it is done."""
        self._shut(socket.SHUT_RDWR)
        self._socket.close()
        then()

    def abort(self) -> None:
        """Close with a reset, if it is open."""
        if self.fileno() >= 0:
            linger = pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._socket.close()

    def _shut(self, how: int) -> None:
        with suppress(OSError):
            self._socket.shutdown(how)

    def _receive(self) -> list[bytes]:
        """Read from the socket."""
        data = self._socket.recv(CHUNK)
        if not data:
            raise EOFError
        return [data]


class _Secure(Wire):
    """A connection over TLS."""

    secure = True

    def __init__(
        self, connected: socket.socket, records: Records, early: list[bytes]
    ) -> None:
        """:param early: what has come already."""
        super().__init__(connected)
        self._records = records
        self._early = early
        self._push: Callable[[bytes], None] = lambda data: None

    def download(self, sink: int, fast: bool) -> Mover:
        """What moves what comes to that descriptor, decrypted."""
        return Copy(self._decrypted, writer(sink), self._early)

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """What sends what is read, encrypted, and first what is left of a handshake."""
        left = self._records.pending()
        return Copy(
            lambda: [self._records.encrypt(*read())],
            writer(self.fileno()),
            [left] if left else [],
        )

    def on_reply(self, push: Callable[[bytes], None]) -> None:
        """Have that called with alerts, and what else TLS has to say."""
        self._push = push

    def end(self) -> None:
        """Say close_notify: a FIN alone would say "cut short"."""
        self._push(self._records.close_notify())

    def _decrypted(self) -> list[bytes]:
        """Read from the socket."""
        ended = self._records.ended
        if ended is not None:
            raise ended
        data = self._socket.recv(CHUNK)
        if not data:
            raise CutShort("TLS connection cut short: no close_notify")
        pieces = self._records.decrypt(data)
        if self._records.ended is not None:
            # Nothing else may make it readable again, to be asked for the end.
            self._shut(socket.SHUT_RD)
        reply = self._records.pending()
        if reply:
            self._push(reply)
        return pieces


class _Ended(Wire):
    """What a connection has left behind."""

    def __init__(self, early: list[bytes], error: Exception | None) -> None:
        """
        :param early: what has come.
        :param error: how it ended.
        """
        ours, theirs = socket.socketpair()
        theirs.close()
        super().__init__(ours)
        self._early = early
        self._error = error or EOFError()

    def download(self, sink: int, fast: bool) -> Mover:
        """What has come, and then the end."""
        return Copy(self._fail, writer(sink), self._early)

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """Nothing will be sent."""
        return Copy(self._wait, writer(self.fileno()))

    def _fail(self) -> list[bytes]:
        raise self._error

    def _wait(self) -> list[bytes]:
        raise BlockingIOError


@implementer(IPushProducer)
class _Lent(Wire, Watch):
    """A connection that stays in Twisted's hands: any transport will do."""

    def __init__(
        self, clock: IReactorTime, transport: Any, early: list[bytes], secure: bool
    ) -> None:
        self._clock = clock
        self._transport = transport
        self._incoming = early
        self.secure = secure
        self.fd = -1
        self._end: Exception | None = None
        self._full = self._gone = False
        self._reads = self._writes = False
        self._later: IDelayedCall | None = None
        self._closed: Callable[[], None] = lambda: None

    # From Twisted.

    def received(self, data: bytes) -> None:
        """Something has come."""
        self._incoming.append(data)
        self._look()

    def ended(self, error: Exception | None) -> None:
        """Nothing more will come."""
        self._end = self._end or error or EOFError()
        self._look()

    def lost(self, error: Exception | None) -> None:
        """The connection is gone."""
        self._gone = True
        # Whoever waits to write is to hear of it.
        self._full = False
        self.ended(error)
        self._closed()

    def pauseProducing(self) -> None:
        """The server is slow."""
        self._full = True

    def resumeProducing(self) -> None:
        """The server is ready."""
        self._full = False
        self._look()

    def stopProducing(self) -> None:
        """The connection is gone, which is told otherwise."""

    # For the pumps.

    def watch(
        self,
        reactor: Any,
        readable: Callable[[], None],
        writable: Callable[[], None],
    ) -> Watch:
        """Be that."""
        self._readable, self._writable = readable, writable
        self._transport.registerProducer(self, True)
        return self

    def reading(self, wanted: bool) -> None:
        """Tell from now on, or no longer, when something has come."""
        if wanted != self._reads:
            self._reads = wanted
            if wanted:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()
        self._look_later()

    def writing(self, wanted: bool) -> None:
        """Tell from now on, or no longer, when more can be sent."""
        self._writes = wanted
        self._look_later()

    def _ready(self) -> tuple[bool, bool]:
        reads = self._reads and bool(self._incoming or self._end)
        return reads, self._writes and not self._full

    def _look_later(self) -> None:
        if any(self._ready()) and self._later is None:
            self._later = self._clock.callLater(0, self._look)

    def _look(self) -> None:
        if self._later is not None and self._later.active():
            self._later.cancel()
        self._later = None
        reads, writes = self._ready()
        if reads:
            self._readable()
        if writes:
            self._writable()

    def download(self, sink: int, fast: bool) -> Mover:
        """What writes what comes to that descriptor."""
        return Copy(self._take, writer(sink))

    def upload(self, source: int, read: Read, fast: bool) -> Mover:
        """What sends what is read."""
        return Copy(read, self._give)

    def _take(self) -> list[bytes]:
        pieces, self._incoming = self._incoming, []
        if pieces:
            return pieces
        raise self._end or BlockingIOError

    def _give(self, pieces: list[bytes]) -> int:
        if self._gone:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
        if self._full:
            raise BlockingIOError
        self._transport.write(b"".join(pieces))
        return sum(map(len, pieces))

    # The end.

    def end(self) -> None:
        """Tell the server that no more will be sent."""
        if not self._gone:
            # A registered producer would keep the close from ever happening.
            self._transport.unregisterProducer()
            if self.secure:
                self._transport.loseConnection()
            else:
                self._transport.loseWriteConnection()

    def break_off(self) -> None:
        """It is gone: nothing more comes than what has come."""

    def unsent(self) -> int:
        """How many bytes the kernel still holds for the peer, where it tells."""
        try:
            held = ioctl(self._transport.fileno(), TIOCOUTQ, bytes(4))
        except (AttributeError, OSError, TypeError, ValueError):
            return 0
        return int.from_bytes(held, byteorder)

    def close(self, then: Callable[[], None]) -> None:
        """Close in good order; that is done when all is written."""
        if self._gone:
            then()
        else:
            self._closed = then
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        """Close with a reset."""
        if not self._gone:
            self._transport.abortConnection()

    def stop(self) -> None:
        """Tell nothing more."""
        self._reads = self._writes = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
