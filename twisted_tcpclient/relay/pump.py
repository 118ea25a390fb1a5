"""
Pumps: each moves bytes one way, from one descriptor to another.

A pump takes bytes from its source, gives them to its sink, and takes no more before all
are given.  So a slow sink pauses the source, and memory use is bounded.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto

from twisted_tcpclient.errors import TCPClientError
from twisted_tcpclient.relay.descriptors import CHUNK, widen
from twisted_tcpclient.relay.movers import Mover, Withheld, is_final
from twisted_tcpclient.relay.watch import Watch

#: The largest number of takes in one turn; then the reactor handles other events.
TURN = 16
#: A take of fewer bytes counts as all that the source has for now.
MESSAGE = 2**12


class State(Enum):
    """The states of one direction of a session."""

    #: Bytes are taken from the source and given to the sink.
    OPEN = auto()
    #: No more bytes are taken; the held bytes are given.
    FINISHING = auto()
    #: Nothing more is moved.
    DONE = auto()


class Pump:
    """
    Moves bytes one way, as the reactor finds descriptors ready.

    :ivar state: whether bytes are still taken, and still given.
    :ivar taken: how many bytes were taken so far.
    :ivar given: how many bytes were given so far.
    """

    def __init__(
        self,
        mover: Mover,
        source: Watch,
        sink: Watch,
        between: Watch,
        ended: Callable[[Exception | None], None],
        failed: Callable[[OSError], None],
    ) -> None:
        """
        :param source: watches the descriptor that bytes are taken from.
        :param sink: watches the descriptor that bytes are given to.
        :param between: the watch to wait for after a turn: the source, or the sink if
            the source cannot be watched, as a regular file (epoll_ctl(2), EPERM).
        :param ended: called once, when no more is taken and all is given: with None at
            the end, or with the error.
        :param failed: called when no more can be given.
        """
        self._mover = mover
        self._source = source
        self._sink = sink
        self._between = between
        self._ended = ended
        self._failed = failed
        self._then: Callable[[], None] | None = None
        self._within = False
        self.state = State.OPEN
        self.taken = self.given = 0

    @property
    def held(self) -> int:
        """How many bytes were taken and not yet given."""
        return self._mover.held

    @property
    def ahead(self) -> int:
        """How many bytes of the source were read and not yet given."""
        return self._mover.ahead

    def turn(self) -> None:
        """Move bytes until source or sink is not ready, in at most ``TURN`` takes."""
        if self._within:
            return
        takes = TURN
        while self._drain():
            if self.state is not State.OPEN:
                self._settle()
                return
            if not takes:
                self._await(self._between)
                return
            taken = self._take()
            if taken is None:
                return
            takes = takes - 1 if taken >= MESSAGE else 0

    def finish(self, then: Callable[[], None]) -> None:
        """Take no more, and call ``then`` once all is given."""
        self._take_no_more()
        self._then = then
        self._source.reading(False)
        self.turn()

    def push(self, data: bytes) -> None:
        """Give bytes that were not taken from the source."""
        if self.state is not State.DONE:
            self._mover = self._mover.copied()
            self._mover.add(data)
            self.turn()

    def discard(self) -> None:
        """Discard all bytes from now on, as the sink is closed; go on taking."""
        if self.state is not State.DONE:
            self._mover = self._mover.copied()
            self._mover.discard()
            self._sink.stop()
            self.turn()

    def stop(self) -> None:
        """Stop moving bytes, and drop those that are held."""
        if self.state is not State.DONE:
            self.state = State.DONE
            self._then = None
            self._await(None)
            self._mover.close()

    def _take(self) -> int | None:
        """
        Take once.

        :returns: how many bytes were taken; None if no more can be taken now.
        """
        try:
            taken = self._alone(self._mover.take)
        except Withheld:
            self._await(None)
        except BlockingIOError:
            self._await(self._source)
        except EOFError:
            self._end(None)
        except (OSError, TCPClientError) as error:
            if self._falls_back(error):
                return self._take()
            self._end(error)
        else:
            self.taken += taken
            return None if self.state is State.DONE else taken
        return None

    def _drain(self) -> bool:
        """Give all held bytes; return False if the sink does not take all of them."""
        while self._mover.held:
            try:
                given = self._alone(self._mover.give)
            except BlockingIOError:
                self._await(self._sink)
                return False
            except OSError as error:
                if not self._falls_back(error):
                    self._await(None)
                    self._failed(error)
                    return False
            else:
                if self.given <= CHUNK < self.given + given:
                    self._widen()
                self.given += given
        return True

    def _widen(self) -> None:
        """Let pipes hold more: a source of more than ``CHUNK`` may have much more."""
        self._mover.widen()
        widen(self._source.fd)
        widen(self._sink.fd)

    def _alone(self, move: Callable[[], int]) -> int:
        """
        Take or give, and ignore calls of :meth:`turn` meanwhile.

        TLS may send within a take, and a transport may ask for more within a write.  A
        nested turn would give the same bytes twice.
        """
        self._within = True
        try:
            return move()
        finally:
            self._within = False

    def _falls_back(self, error: Exception) -> bool:
        """
        Replace splice or sendfile by a copy after an error; return whether it was done.

        The error of splice or sendfile does not show which end has failed; the error
        of the copy does.
        """
        if not isinstance(error, OSError) or is_final(error):
            return False
        failed, self._mover = self._mover, self._mover.copied()
        return self._mover is not failed

    def _end(self, error: Exception | None) -> None:
        """Report the end of the source.  No bytes are held by now."""
        self._take_no_more()
        self._await(None)
        self._ended(error)

    def _take_no_more(self) -> None:
        if self.state is State.OPEN:
            self.state = State.FINISHING

    def _await(self, watch: Watch | None) -> None:
        """Go on when this end is ready; with None, only when :meth:`turn` is called."""
        self._source.reading(watch is self._source)
        self._sink.writing(watch is self._sink)

    def _settle(self) -> None:
        """Stop waiting, because all is given; call the argument of :meth:`finish`."""
        self._await(None)
        then, self._then = self._then, None
        if then is not None:
            then()
