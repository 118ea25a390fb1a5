"""
The relay: a connection and two local descriptors, joined until both are done.

The relay owns the two directions of a session.  Each direction is paused while its sink
is slow, so that memory use is bounded.
:class:`twisted_tcpclient.relay.farewell.Farewell` decides from the state of the session
how the session ends, and the relay takes the steps.  Bytes that were received before an
error are delivered before the relay fails.
"""

from __future__ import annotations

import os
from math import isfinite
from typing import Any

from twisted.internet.defer import Deferred

from twisted_tcpclient.errors import (
    ConnectionBroken,
    CutShort,
    LeftUnsent,
    TCPClientError,
    TimedOut,
)
from twisted_tcpclient.relay import endings
from twisted_tcpclient.relay.closing import Closing
from twisted_tcpclient.relay.download import Download
from twisted_tcpclient.relay.farewell import Farewell, Phase, Sight, Step
from twisted_tcpclient.relay.idle import IDLED, Idle
from twisted_tcpclient.relay.local import Local
from twisted_tcpclient.relay.upload import Upload
from twisted_tcpclient.relay.wire import Wire
from twisted_tcpclient.settings import RelaySettings


class Relay:
    """
    Moves bytes between a connection and two descriptors until both sides have ended.

    :ivar snubbed: whether the server ended the session, in order or not, before it was
        told of the end of input, and without having sent a byte.
    """

    def __init__(
        self, reactor: Any, wire: Wire, local: Local, settings: RelaySettings
    ) -> None:
        """:param local: descriptors that are closed at the end."""
        self._wire = wire
        self._local = local
        self._settings = settings
        self._closing = Closing(wire, self._stop)
        self.snubbed = False
        self._network = wire.watch(
            reactor, lambda: self._download.turn(), lambda: self._upload.turn()
        )
        self._upload = Upload(
            reactor,
            wire,
            self._network,
            local.reading,
            settings.translate,
            heard=lambda: self._download.received,
            ended=self._input_ended,
            failed=self._unsendable,
        )
        self._download = Download(
            reactor,
            wire,
            self._network,
            local.writing,
            reply=self._upload.send_records,
            ended=self._server_ended,
            failed=self._undeliverable,
            deserted=self._deserted,
        )
        self._idle = Idle(reactor, settings.idle, self._progress, self._expired)
        self._farewell = Farewell(
            reactor,
            settings.shutdown,
            self._see,
            self._act,
            typed=os.isatty(local.reading),
            needed=local.needed,
        )

    def start(self) -> Deferred[None]:
        """
        Move bytes until both sides have ended.

        :returns: fires with None after an orderly end.  Fails with a
            :class:`twisted_tcpclient.errors.TCPClientError`, or, if it is cancelled,
            with :class:`twisted.internet.defer.CancelledError`.
        """
        self._wire.start()
        self._idle.start()
        self._download.start()
        # Input first: it is sent even if the server has closed its side already.
        self._upload.turn()
        self._download.turn()
        return self._closing.fired.addBoth(self._over)

    # Reports of the directions.

    def _server_ended(self, error: Exception | None) -> None:
        """Act on the end of the server's side; all that it sent is delivered."""
        if self._farewell.phase in (Phase.OPEN, Phase.WAITING):
            self.snubbed = not self._download.received
        meant = endings.of_socket(error or EOFError())
        if isinstance(meant, CutShort) and self._settings.ignore_unexpected_eof:
            self._settings.note("the server has closed TLS without close_notify")
            meant = None
        if meant is None:
            self._settings.note("the server has ended the connection")
            self._upload.finish(self._farewell.look)
            self._farewell.look()
            return
        if self._farewell.phase is not Phase.LINGERING:
            if endings.explains(error):
                self._closing.error = meant
            self._closing.blame(meant)
        self._closing.close()

    def _unsendable(self, error: OSError | TCPClientError) -> None:
        """Stop sending, as the server takes no more; deliver what it has sent."""
        phase = self._farewell.phase
        if phase is Phase.OVER:
            self._closing.close()
            return
        self._upload.stop()
        if self._download.has_ended:
            self._farewell.look()
            return
        if phase not in (Phase.TOLD, Phase.LINGERING):
            self._closing.blame(endings.of_socket(error))
        if self._download.has_output:
            self._wire.break_off()
            self._download.turn()
        else:
            self._closing.close()

    def _input_ended(self, error: Exception | None) -> None:
        """Act on the end of input, all of which was given to the wire."""
        if isinstance(error, TCPClientError):
            self._unsendable(error)
        elif isinstance(error, OSError):
            self._closing.fail(endings.unreadable(self._local.reads, error))
        else:
            self._farewell.look()
            if self._farewell.phase is Phase.WAITING:
                patience = self._farewell.patience(self._see())
                self._settings.note(_told_after(self._local.reads, patience))

    def _undeliverable(self, error: OSError) -> None:
        """Act on output that takes no more while the server has sent more."""
        if self._local.needed and self._farewell.phase is not Phase.LEAVING:
            self._closing.fail(endings.unwritable(self._local.writes, error))
        else:
            # Go on reading: a server whose bytes are not read may stop reading input.
            self._download.discard()
            self._farewell.look()

    def _deserted(self) -> None:
        """Act on output that has lost its reader; the server may still take input."""
        if not self._local.needed:
            self._download.discard()
        self._farewell.look()

    # The farewell.

    def _see(self) -> Sight:
        """Return the current state of the session."""
        if self._farewell.phase is Phase.WAITING:
            # Bytes that came while the process was stopped (SIGSTOP) count as heard.
            self._download.turn()
        return _sight(self._upload, self._download)

    def _act(self, step: Step) -> None:
        """Take the step that the farewell has decided."""
        match step:
            case Step.TELL:
                self._settings.note("the server is told that no more will be sent")
                self._upload.tell()
            case Step.HANG_UP:
                self._settings.note("no process reads the answer: closing")
                self._upload.tell()
                self._download.discard()
                self._upload.finish(self._wire.hang_up)
            case Step.CLOSE:
                self._upload.close_notify()
                self._upload.finish(self._closing.close)
            case Step.LEAVE:
                self._closing.leave()
            case Step.LEFT_UNSENT:
                self._closing.blame(LeftUnsent(self._local.reads))
                self._closing.leave()
            case Step.NOT_TAKEN:
                self._closing.fail(
                    ConnectionBroken("the server does not take what was sent")
                )
            case Step.NO_READER:
                error = endings.broken_pipe()
                self._closing.fail(endings.unwritable(self._local.writes, error))

    # The end.

    def _progress(self) -> tuple[int, ...]:
        """Return counters that change whenever bytes have moved."""
        return (*self._upload.moved(), *self._download.moved())

    def _expired(self) -> None:
        self._closing.fail(TimedOut(IDLED))

    def _stop(self) -> None:
        """Move nothing more, and close both descriptors."""
        self._farewell.stop()
        self._upload.stop()
        self._download.stop()
        self._network.stop()

    def _over(self, result: Any) -> Any:
        """Stop the idle timer, and return the outcome unchanged."""
        self._idle.stop()
        return result


def _sight(upload: Upload, download: Download) -> Sight:
    """Return the current state of the session with these two directions."""
    return Sight(
        input_ended=upload.has_ended,
        unread=upload.unread(),
        has_reader=download.has_reader,
        server_ended=download.has_ended,
        refused=upload.is_refused(download.has_ended),
        unsent=upload.unsent,
        unacknowledged=upload.unacknowledged,
        undelivered=download.undelivered,
        heard=download.received,
        sent=upload.sent,
        answered=upload.answered,
    )


def _told_after(reads: str, seconds: float) -> str:
    """Return the note on how long the server has to be quiet after the end of input."""
    quiet = f"when it has been quiet for {seconds:g} s"
    when = quiet if isfinite(seconds) else "never"
    return f"{reads} has ended; the server is told {when} (--shutdown)"
