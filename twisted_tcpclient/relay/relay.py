"""
The relay: a connection and two local descriptors, joined until both are done.

It owns two pumps, one for each direction.  Each side is paused while the other is slow,
so memory stays flat.  How a session ends is decided by
:class:`twisted_tcpclient.relay.farewell.Farewell`; the relay shows it the
session and does what it decides.  What was received before an error is delivered before
the relay fails.  A session in which nothing moves for too long is given up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite
from typing import Any

from twisted.internet.defer import CancelledError, Deferred

from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    LeftUnsent,
    TCPClientError,
    TimedOut,
)
from twisted_tcpclient.relay import endings
from twisted_tcpclient.relay.descriptors import (
    Rest,
    Watch,
    has_reader,
    reader,
    rest,
    tells_of_readers,
    waits,
)
from twisted_tcpclient.relay.farewell import Farewell, Phase, Sight, Step
from twisted_tcpclient.relay.idle import IDLED, Idle
from twisted_tcpclient.relay.pump import Pump
from twisted_tcpclient.relay.wire import Wire
from twisted_tcpclient.settings import RelaySettings

#: How much may wait for a server that does not read what TLS has to say, in bytes.
UNHEARD = 2**20


@dataclass(frozen=True)
class Local:
    """
    The local side of a relay: two descriptors.

    :ivar reading: the descriptor to read from; closed at the end.
    :ivar writing: the descriptor to write to, non-blocking; closed at the end.
    :ivar reads: the name of the input, for messages.
    :ivar writes: the name of the output, for messages.
    :ivar needed: whether it is an error if no process reads what the server sends.
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
    :ivar snubbed: whether the server ended the session, in order or not, before it was
        told of the end of input, and without having sent a byte.
    """

    snubbed = False

    def __init__(
        self,
        reactor: Any,
        wire: Wire,
        local: Local,
        settings: RelaySettings,
        *,
        fast: bool = True,
    ) -> None:
        """:param fast: False to move bytes in the plain way only."""
        self._wire = wire
        self._local = local
        self._settings = settings
        self._error: Exception | None = None
        self._connected = self._reads = self._listens = True
        self._abandoned = self._ended = self._refused = False
        #: Whether some of the input may be unacknowledged.
        self._owed = True
        #: How many bytes of TLS itself, or FIN, follow the last byte of input.
        self._tail = 0
        #: How many bytes had come from the server when the last byte was sent to it.
        self._heard = 0
        self._read = reader(local.reading)
        self.finished: Deferred[None] = Deferred(self._cancelled)
        self._network = wire.watch(reactor, self._receive, self._send)
        self._source = Watch(reactor, local.reading, self._send, self._send)
        self._sink = Watch(reactor, local.writing, self._deserted, self._receive)
        self._up = Pump(
            wire.upload(
                local.reading, self._input, fast and settings.translate is None
            ),
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
        self._idle = Idle(reactor, settings.idle, self._progress, self._expired)
        self._farewell = Farewell(
            reactor,
            settings.shutdown,
            self._see,
            self._act,
            typed=os.isatty(local.reading),
            needed=local.needed,
        )
        self._sink.reading(tells_of_readers(local.writing))
        # Input first: what is there is sent even where the server has gone.
        self._send()
        self._receive()

    # Bytes.

    def _input(self) -> list[bytes]:
        """Read the input, and translate it."""
        pieces = self._read()
        translate = self._settings.translate
        return pieces if translate is None else [*map(translate, pieces)]

    def _send(self) -> None:
        """Move input to the server."""
        self._upward(self._up.turn)

    def _upward(self, move: Callable[[], None]) -> None:
        """Move bytes to the server, and record what :meth:`_see` needs."""
        taken, given = self._up.taken, self._up.given
        move()
        if self._up.taken != taken:
            self._tail = 0
        if (self._up.taken, self._up.given) != (taken, given):
            self._heard = self._received

    def _receive(self) -> None:
        """Move bytes from the server to the output."""
        self._down.turn()

    def _reply(self, data: bytes, released: bool) -> None:
        """
        Send the records of TLS itself: answers, close_notify, alerts.

        :param released: whether they hold input that TLS had withheld.
        """
        self._tail = 0 if released else self._tail + len(data)
        self._upward(lambda: self._up.push(data))
        if self._up.held > UNHEARD:
            self._unsendable(ConnectionBroken("the server does not read TLS's answers"))

    # The end of the server's side.

    def _network_ended(self, error: Exception | None) -> None:
        """Handle the end of the server's side; all that it sent is delivered."""
        if self._farewell.phase in (Phase.OPEN, Phase.WAITING):
            self.snubbed = not self._received
        meant = None if error is None else endings.of_socket(error)
        if isinstance(meant, CutShort) and self._settings.ignore_unexpected_eof:
            self._settings.note("the server has closed TLS without close_notify")
            meant = None
        if meant is None:
            self._ended = True
            self._settings.note("the server has ended the connection")
            # After close_notify nothing can be sent, so nothing more may be taken.
            self._up.finish(self._farewell.look)
            self._farewell.look()
        elif self._farewell.phase is Phase.LINGERING:
            self._close()
        else:
            # An alert is the cause of a failure to send, so it is the error to report.
            tells = meant is error and not isinstance(error, CutShort)
            self._error = meant if tells else self._error or meant
            self._close()

    def _unsendable(self, error: OSError | TCPClientError) -> None:
        """Stop sending, as the server takes no more; deliver what it has sent."""
        if self._farewell.phase is Phase.OVER:
            self._close()
            return
        self._refused = True
        if self._ended:
            self._farewell.look()
            return
        if self._farewell.phase not in (Phase.TOLD, Phase.LINGERING):
            self._error = self._error or endings.of_socket(error)
        self._close_source()
        self._up.stop()
        if self._listens:
            self._wire.break_off()
            self._receive()
        else:
            self._close()

    # The end of our side.

    def _source_ended(self, error: Exception | None) -> None:
        self._close_source()
        if isinstance(error, TCPClientError):
            self._unsendable(error)
        elif isinstance(error, OSError):
            self._fail(endings.unreadable(self._local.reads, error))
        else:
            self._farewell.look()
            self._note_waiting()

    def _note_waiting(self) -> None:
        """Note how long the server has to be quiet, if the farewell waits for that."""
        if self._farewell.phase is Phase.WAITING:
            seconds = self._farewell.patience(self._see())
            told = f"when it has been quiet for {seconds:g} s"
            when = told if isfinite(seconds) else "never"
            self._settings.note(
                f"{self._local.reads} has ended; the server is told {when} (--shutdown)"
            )

    def _deserted(self) -> None:
        """Handle the loss of the last reader of the output, if that is a pipe."""
        self._sink.reading(False)
        if self._listens and self._down.held:
            self._sink_failed(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))
        elif self._listens:
            self._abandon()

    def _sink_failed(self, error: OSError) -> None:
        if self._local.needed and self._farewell.phase is not Phase.LEAVING:
            self._fail(endings.unwritable(self._local.writes, error))
        else:
            # A server whose words are not read may take no more of ours.
            self._discard()
            self._abandon()

    def _abandon(self) -> None:
        """Go on without a reader of the output; the server may still take input."""
        self._abandoned = True
        if not self._local.needed:
            self._discard()
        self._farewell.look()

    def _discard(self) -> None:
        """Discard what the server still sends."""
        self._close_sink()
        self._down.discard()

    # The farewell.

    def _see(self) -> Sight:
        """Return the session as it is now."""
        if self._connected and self._farewell.phase is Phase.WAITING:
            # Bytes that came while the process was stopped (SIGSTOP) count as heard.
            self._down.turn()
        left = self._unacknowledged()
        refused = self._refused or bool(left and self._ended and self._wire.refused())
        return Sight(
            over=not self._reads,
            rest=rest(self._local.reading) if self._reads else Rest.NONE,
            read=self._is_read(),
            ended=self._ended,
            refused=self._owed and refused,
            unsent=self._up.held if self._owed else 0,
            unacknowledged=left,
            undelivered=self._down.held,
            heard=self._received,
            sent=self._up.given,
            answered=self._received > self._heard,
        )

    @property
    def _received(self) -> int:
        """How many bytes the server has sent, with those that came before the relay."""
        return self._down.given + self._down.held

    def _is_read(self) -> bool:
        """
        Return whether a process may read the output.

        If bytes are held, the next write shows whether there is a reader.
        """
        if not self._listens or self._abandoned:
            return False
        return self._down.held > 0 or has_reader(self._local.writing)

    def _unacknowledged(self) -> int:
        """Return how many bytes of the input the server has not acknowledged."""
        if not (self._owed and self._connected):
            return 0
        return max(0, self._wire.unsent() - self._tail)

    def _act(self, step: Step) -> None:
        """Take the step that the farewell has decided."""
        match step:
            case Step.TELL:
                self._settings.note("the server is told that no more will be sent")
                self._tell()
            case Step.HANG_UP:
                self._settings.note("no process reads the answer: closing")
                self._tell()
                self._discard()
                self._up.finish(self._wire.hang_up)
            case Step.CLOSE:
                if self._wire.secure:
                    self._wire.end()
                self._up.finish(self._close)
            case Step.LEAVE:
                self._leave()
            case Step.LEFT_UNSENT:
                self._error = self._error or LeftUnsent(self._local.reads)
                self._leave()
            case Step.NOT_TAKEN:
                self._fail(ConnectionBroken("the server does not take what was sent"))
            case Step.NO_READER:
                gone = BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))
                self._fail(endings.unwritable(self._local.writes, gone))

    def _tell(self) -> None:
        """Send FIN, or close_notify over TLS, where FIN alone means truncation."""
        self._owed = bool(self._up.held or self._unacknowledged())
        if not self._wire.secure:
            # The kernel counts FIN as a byte.
            self._tail += 1
        self._wire.end()

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

        What was read of a file and not sent is left to the next process that reads it.
        """
        if not self._reads:
            return
        self._reads = False
        translated = self._settings.translate is not None
        ahead = 0 if self._wire.secure or translated else self._up.ahead
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
        self._close_sink()
        if self._connected:
            self._let_go()
            self._wire.close(self._finish)

    def _leave(self) -> None:
        """
        Close the connection without waiting for the server.

        The kernel still sends what it was given: the next process that reads a file
        begins behind these bytes.
        """
        self._close_sink()
        self._let_go()
        self._wire.leave()
        self._finish()

    def _abort(self) -> None:
        """The same without delay, even where it is closing already."""
        self._let_go()
        self._wire.abort()
        self._finish()

    def _let_go(self) -> None:
        """Move nothing more."""
        self._connected = False
        self._farewell.stop()
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
