"""
Pumps: each moves bytes one way, from one descriptor to another.

A pump takes, then gives, and takes no more before all is given.  So a reader that
stalls stalls the writer, and memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted_tcpclient.errors import TCPClientError
from twisted_tcpclient.relay.descriptors import CHUNK, Watch, widen
from twisted_tcpclient.relay.movers import Copy, Mover, SendFile, Withheld, is_final

#: How often something is taken before it is the turn of others.
TURN = 16
#: Whoever says less at a time has said all there is for now, in bytes.
MESSAGE = 2**12


class Pump:
    """
    Moves bytes one way, as the reactor finds descriptors ready.

    :ivar taken: how many bytes were taken so far.
    :ivar given: how many bytes were given so far.
    :ivar stalled: whether it waits for whoever it gives to.
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
        :param source: watches what is taken from.
        :param sink: watches what is given to.
        :param between: what to watch until it is worth taking more: the source,
            or the sink where the source cannot be watched, as a file.
        :param ended: called once, when nothing more will be taken and all is
            given: with None at the end, or with what went wrong.
        :param failed: called when no more can be given.
        """
        self._mover = mover
        self._source = source
        self._sink = sink
        self._between = between
        self._ended = ended
        self._failed = failed
        self._taking = True
        self._stopped = False
        self._then: Callable[[], None] | None = None
        self._wide = self._within = self._brief = False
        self.taken = self.given = 0
        self.stalled = False

    @property
    def held(self) -> int:
        """How many bytes were taken, and not yet given."""
        return self._mover.held

    @property
    def ahead(self) -> int:
        """How many bytes of the source were read, and not yet given."""
        return 0 if isinstance(self._mover, SendFile) else self.held

    def turn(self) -> None:
        """Move what can be moved, within bounds."""
        if self._within:
            return
        takes = TURN
        self._brief = False
        if self.given > CHUNK and not self._wide:
            self._widen()
        while self._mover.held or self._taking:
            if self._mover.held:
                moved = self._give()
            elif takes and not self._brief:
                takes -= 1
                moved = self._take()
            else:
                self._wait(self._between)
                return
            if not moved:
                return
        self._rest()

    def finish(self, then: Callable[[], None]) -> None:
        """Take no more, and call that once all is given."""
        self._taking = False
        self._then = then
        self._source.reading(False)
        self.turn()

    def push(self, data: bytes) -> None:
        """Give that as well, though it was not taken here."""
        if not self._stopped:
            self._mover = self._mover.copied()
            self._mover.add(data)
            self.turn()

    def discard(self) -> None:
        """Nobody is there any more to be given anything; go on taking."""
        if not self._stopped:
            self._mover = self._mover.copied()
            self._mover.discard()
            self._sink.stop()
            self.turn()

    def stop(self) -> None:
        """Move nothing more."""
        if not self._stopped:
            self._stopped = True
            self._taking = self.stalled = False
            self._then = None
            self._wait(None)
            self._mover.close()

    def _widen(self) -> None:
        """Whoever has so much to say may have much more."""
        self._wide = True
        self._mover.widen()
        widen(self._source.fd)
        widen(self._sink.fd)

    def _take(self) -> bool:
        """Return whether one may go on."""
        try:
            taken = self._alone(self._mover.take)
            self.taken += taken
            self._brief = taken < MESSAGE
            return not self._stopped
        except Withheld:
            self._wait(None)
        except BlockingIOError:
            self._wait(self._source)
        except EOFError:
            self._end(None)
        except (OSError, TCPClientError) as error:
            if self._cannot(error):
                return True
            self._end(error)
        return False

    def _alone(self, move: Callable[[], int]) -> int:
        """
        Take, or give.  TLS may have something to send meanwhile, and find that it
        cannot; and a transport may say within a write that it wants more.  What comes
        of that is not to begin another turn, which would give the same again.
        """
        self._within = True
        try:
            return move()
        finally:
            self._within = False

    def _give(self) -> bool:
        """Return whether one may go on."""
        try:
            self.given += self._alone(self._mover.give)
            self.stalled = False
            return True
        except BlockingIOError:
            self.stalled = True
            self._wait(self._sink)
        except OSError as error:
            if self._cannot(error):
                return True
            self.stalled = False
            self._wait(None)
            self._failed(error)
        return False

    def _cannot(self, error: Exception) -> bool:
        """
        Return whether copying goes on in place of splice or sendfile.

        Only a copy tells why they have failed, and at which end.
        """
        if isinstance(self._mover, Copy) or not isinstance(error, OSError):
            return False
        if is_final(error):
            return False
        self._mover = self._mover.copied()
        return True

    def _end(self, error: Exception | None) -> None:
        self._taking = False
        self._wait(None)
        self._ended(error)

    def _wait(self, on: Watch | None) -> None:
        """Go on as soon as that is ready."""
        self._source.reading(on is self._source)
        self._sink.writing(on is self._sink)

    def _rest(self) -> None:
        """There is nothing to do any more."""
        self._wait(None)
        then, self._then = self._then, None
        if then is not None:
            then()
