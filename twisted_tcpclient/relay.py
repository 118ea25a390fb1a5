"""
Two ends joined: the network, and descriptors of our own.

What happens when one side ends:

- End of input on our side is a half-close.  The server is told (FIN, or
  close_notify over TLS), and what it still sends is delivered in full.  Many
  servers take close_notify for a hang-up and forget the reply they were about
  to send (Postfix answers QUIT so), so over TLS a conversation is ended only
  once the server has been quiet for a moment, or has talked for a minute.
- End of input from the server ends the session: what it sent is delivered, and
  our side is closed.  If there is known to be input that it did not want, that
  is an error: half an upload is none.
- Anything else is an error.  What was received before it is still delivered.

Each side is paused while the other is slow, so memory stays flat.  A session in
which nothing moves for too long is given up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_tcpclient.descriptors import (
    Watch,
    reader,
    tells_of_readers,
    unread,
    waits,
)
from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    LeftUnsent,
    LocalFailure,
    TCPClientError,
    TimedOut,
)
from twisted_tcpclient.pumps import Pump
from twisted_tcpclient.report import os_reason
from twisted_tcpclient.wire import Wire

#: How long a server must be quiet to have no more to say, in seconds.
QUIET = 1.0
#: How long a server may talk before it is told that we have no more to say.
PATIENCE = 60.0
#: How long to wait for the server's close when nobody is left to hear it.
LINGER = 5.0
#: What is said of a session in which nothing has moved for too long.
IDLED = "timed out: nothing was sent or received"
#: How much may wait for a server that does not read what TLS has to say, in bytes.
UNHEARD = 2**20
#: Whoever sends more than this is not in a conversation, in bytes.
CONVERSATION = 2**20


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
        self._still = 0
        self._call: IDelayedCall | None = None
        self._wait()

    def _wait(self) -> None:
        if self._seconds is not None:
            pause = self._seconds / self.LOOKS
            self._call = self._clock.callLater(pause, self._look)

    def _look(self) -> None:
        seen = self._progress()
        # Looks are counted, not time: a time in which we were stopped, as by a shell,
        # is one look, and what has come meanwhile is read before the next.
        self._still = self._still + 1 if seen == self._seen else 0
        self._seen = seen
        if self._still == self.LOOKS:
            self._expired()
        else:
            self._wait()

    def stop(self) -> None:
        """Never call."""
        self._seconds = None
        if self._call is not None and self._call.active():
            self._call.cancel()


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
    Joins a connection and two descriptors until both are done.

    :ivar finished: fires with None after an orderly end, or fails with a
        :class:`twisted_tcpclient.errors.TCPClientError`.
    """

    def __init__(
        self,
        reactor: Any,
        wire: Wire,
        local: Local,
        *,
        idle: float | None,
        translate: Callable[[bytes], bytes] | None = None,
        fast: bool = True,
    ) -> None:
        """
        :param idle: seconds without progress until the session is given up.
        :param translate: applied to what is read before it is sent.
        :param fast: False to move bytes in the plain way only.
        """
        self._clock: IReactorTime = reactor
        self._wire = wire
        self._local = local
        self._error: Exception | None = None
        self._connected = self._reads = self._listens = True
        self._read = reader(local.reading)
        self._translate = translate
        self._polite = False
        self._sent = 0
        self._kernel = 0
        #: The next step towards the end that waits for its time.
        self._later: IDelayedCall | None = None
        self._latest = 0.0
        self.finished: Deferred[None] = Deferred(self._cancelled)
        self._network = wire.watch(reactor, self._receive, self._send)
        self._source = Watch(reactor, local.reading, self._send, self._send)
        self._sink = Watch(reactor, local.writing, self._deserted, self._receive)
        self._up = Pump(
            wire.upload(local.reading, self._input, fast and translate is None),
            self._source,
            self._network,
            self._source if waits(local.reading) else self._network,
            self._source_ended,
            self._unsendable,
        )
        self._down = Pump(
            wire.download(local.writing, fast),
            self._network,
            self._sink,
            self._network,
            self._network_ended,
            self._sink_failed,
        )
        wire.on_reply(self._reply)
        self._idle = Idle(reactor, idle, self._progress, self._expired)
        self._sink.reading(tells_of_readers(local.writing))
        # Input first: what is there is sent even where the server has gone.
        self._send()
        self._receive()

    def _input(self) -> list[bytes]:
        """Read from our side."""
        pieces = self._read()
        self._sent += sum(map(len, pieces))
        return pieces if self._translate is None else [*map(self._translate, pieces)]

    def _send(self) -> None:
        """Move what our side has to say."""
        self._up.turn()

    def _receive(self) -> None:
        """Move what the server has to say."""
        before = self._down.taken
        self._down.turn()
        if self._later is not None and self._listens and self._down.taken != before:
            self._later.reset(self._patience())

    def _patience(self) -> float:
        """How long the server may be quiet from now on."""
        return max(0, min(QUIET, self._latest - self._clock.seconds()))

    def _reply(self, data: bytes) -> None:
        """TLS has something to say, as the server has asked for it."""
        self._up.push(data)
        if self._up.held > UNHEARD:
            self._unsendable(ConnectionBroken("the server does not read TLS's answers"))

    # From the network.

    def _network_ended(self, error: Exception | None) -> None:
        """
        The server will send no more, in good order (None) or not.  What it has
        sent is delivered.
        """
        if error is not None:
            self._network_lost(error)
            return
        left = self._reads and unread(self._local.reading)
        if left:
            self._error = self._error or LeftUnsent(self._local.reads)
        self._close_sink()
        # Nothing may be taken once close_notify is said: it could not be sent.
        self._up.finish(self._answer)
        if left:
            # Nothing is mended by sending a little more.
            self._close()

    def _answer(self) -> None:
        """All is sent that was taken: end as the server has."""
        if self._wire.secure:
            self._end()
        self._up.finish(self._close)

    def _network_lost(self, error: Exception) -> None:
        """The connection is gone otherwise."""
        if isinstance(error, OSError):
            error = _broken(error)
        elif not isinstance(error, CutShort):
            # An alert tells more than a failure to send.
            self._error = error
        if self._listens or not isinstance(error, CutShort):
            # Where nobody reads any more, nothing can have been cut off.
            self._error = self._error or error
        self._close_sink()
        self._close()

    def _unsendable(self, error: OSError | TCPClientError) -> None:
        """The server takes no more.  What it has said before is delivered."""
        if not self._polite:
            known = error if isinstance(error, TCPClientError) else _broken(error)
            self._error = self._error or known
        self._close_source()
        self._up.stop()
        if self._listens:
            self._wire.break_off()
            self._receive()
        else:
            self._close()

    # From our side.

    def _source_ended(self, error: Exception | None) -> None:
        self._close_source()
        if isinstance(error, TCPClientError):
            self._unsendable(error)
        elif isinstance(error, OSError):
            why = os_reason(error)
            self._fail(LocalFailure(f"unable to read {self._local.reads}: {why}"))
        elif not self._listens:
            self._say_goodbye()
        elif not self._wire.secure:
            self._wire.end()
        elif self._sent > CONVERSATION:
            self._say_goodbye()
        else:
            self._latest = self._clock.seconds() + PATIENCE
            self._wait(QUIET, self._quiet)

    def _quiet(self) -> None:
        """The server has been quiet, or was not listened to."""
        self._later = None
        before, patience = self._down.taken, self._patience()
        # If we were stopped, time was up before what has come meanwhile was read.
        self._down.turn()
        if not (self._connected and self._listens):
            return
        if self._down.stalled:
            self._wait(QUIET, self._quiet)
        elif patience and self._down.taken != before:
            self._wait(patience, self._quiet)
        else:
            self._say_goodbye()

    def _say_goodbye(self) -> None:
        """
        Say close_notify, and go on reading; in clear, where this is said only when
        nobody reads any more, close.

        The FIN of a half-close below TLS would say "cut short" instead.
        """
        self._forget_later()
        if not self._wire.secure:
            self._close()
            return
        self._end()
        if not self._listens and self._connected:
            self._wait(LINGER, self._leave)

    def _end(self) -> None:
        """Say close_notify.  If it is all there is to say, nobody may want it."""
        self._polite = not self._up.held
        self._wire.end()

    def _leave(self) -> None:
        """
        Nobody is left, and the server does not close: go, as soon as it has all
        that was sent, or takes no more of it.
        """
        self._later = None
        held = self._up.held + self._wire.unsent()
        if held and held != self._kernel:
            self._kernel = held
            self._wait(LINGER, self._leave)
        elif held:
            self._fail(ConnectionBroken("the server does not take what was sent"))
        else:
            self._abort()

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._later = self._clock.callLater(seconds, then)

    def _forget_later(self) -> None:
        later, self._later = self._later, None
        if later is not None and later.active():
            later.cancel()

    def _deserted(self) -> None:
        """The last reader of a pipe has gone."""
        if self._listens:
            self._sink_failed(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))

    def _sink_failed(self, error: OSError) -> None:
        if self._local.needed:
            why = os_reason(error)
            self._fail(LocalFailure(f"unable to write {self._local.writes}: {why}"))
            return
        # The server may be listening still: it can go on, to nobody.
        self._close_sink()
        if not self._reads:
            self._say_goodbye()
        self._down.discard()

    # The end.

    def _progress(self) -> tuple[int, ...]:
        """What has moved so far, in either direction and at either end."""
        kernel = self._wire.unsent() if self._connected else 0
        up, down = self._up, self._down
        return up.taken, up.given, down.taken, down.given, kernel

    def _expired(self) -> None:
        self._idle.stop()
        self._fail(TimedOut(IDLED))

    def _cancelled(self, finished: Deferred[None]) -> None:
        self._fail(CancelledError())

    def _fail(self, error: Exception) -> None:
        """Give up on both sides."""
        self._error = self._error or error
        self._close_source()
        self._close_sink()
        self._abort()

    def _close_source(self) -> None:
        """
        Read no more.

        What was read of a file and not sent is there for whoever reads next.
        """
        if not self._reads:
            return
        self._reads = False
        ahead = 0 if self._wire.secure or self._translate else self._up.ahead
        self._source.stop()
        if ahead:
            with suppress(OSError):
                os.lseek(self._local.reading, -ahead, os.SEEK_CUR)
        os.close(self._local.reading)

    def _close_sink(self) -> None:
        """Write no more."""
        if self._listens:
            self._listens = False
            self._sink.stop()
            os.close(self._local.writing)

    def _close(self) -> None:
        """Close the connection: that is the end of all."""
        if self._connected:
            self._let_go()
            self._wire.close(self._finish)

    def _abort(self) -> None:
        """The same without delay, even where it is closing already."""
        self._let_go()
        self._wire.abort()
        self._finish()

    def _let_go(self) -> None:
        """Move nothing more."""
        self._connected = False
        self._forget_later()
        self._close_source()
        self._up.stop()
        self._down.stop()
        self._network.stop()

    def _finish(self) -> None:
        """It is over."""
        self._idle.stop()
        if not self.finished.called:
            if self._error is None:
                self.finished.callback(None)
            else:
                self.finished.errback(self._error)


def _broken(error: OSError) -> ConnectionBroken:
    """What became of the connection."""
    if isinstance(error, ConnectionError):
        return ConnectionBroken("connection reset")
    return ConnectionBroken(os_reason(error))


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
