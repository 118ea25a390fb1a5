"""
The state machine that decides how a session ends, without I/O.

At each event, and every ``LOOK`` seconds, :class:`Farewell` gets the state of the
session, a :class:`Sight`, and decides on a :class:`Step`.  The rules are the table
``_TABLE``; in words:

- The server is told of the end of input (FIN, or close_notify over TLS) once it has
  acknowledged all that was sent and has been quiet for some time.  Many servers take
  FIN and close_notify for a hang-up and drop the answer that they owe.
- When no process reads the output any more, close_notify is followed by FIN as soon as
  all is acknowledged, and a session that the server then ends with RST, or without
  close_notify, is still in order.
- After an orderly end of the server, the session is whole if no input is left and
  everything that was sent is acknowledged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from math import ceil, inf

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from twisted_tcpclient.relay.queues import Unread
from twisted_tcpclient.settings import Shutdown

#: Seconds between two looks at a session that is about to end.
LOOK = 0.1
#: Seconds in which the writer of a pipe can show, after the server's end, that it has
#: more to send.
PENDING = 0.2
#: Seconds without an acknowledgement after which the server counts as taking no more.
STUCK = 5.0
#: Seconds in which the end of input can follow the loss of the reader of the output.
DESERTED = 1.0
#: Seconds that a server gets to close after FIN when the output has no reader.
LINGER = 1.0


class Phase(Enum):
    """The phases of the end of a session."""

    #: Input may still come, and the server may still send.
    OPEN = auto()
    #: The output has lost its reader, and input may still come.
    DESERTED = auto()
    #: Input has ended; the server may owe an answer and is not told yet.
    WAITING = auto()
    #: The server has been told that no more will be sent.
    TOLD = auto()
    #: Input has ended and the output has no reader; sent bytes are unacknowledged.
    LEAVING = auto()
    #: FIN is out, the output has no reader; the server gets a moment to close.
    LINGERING = auto()
    #: The server has ended in order; whether it took everything is not known yet.
    CHECKING = auto()
    #: The session is over.
    OVER = auto()


class Step(Enum):
    """The steps that the relay has to take."""

    #: Wait.
    NOTHING = auto()
    #: Tell the server that no more will be sent: FIN, or close_notify over TLS.
    TELL = auto()
    #: Tell the server, then send FIN below TLS: the output has no reader any more.
    HANG_UP = auto()
    #: Close the connection in order: the session was whole.
    CLOSE = auto()
    #: Close the connection without waiting any longer for the server to close it.
    LEAVE = auto()
    #: Close the connection: the server ended before it had taken everything.
    LEFT_UNSENT = auto()
    #: Close the connection: the output has lost its reader while input was open.
    NO_READER = auto()
    #: Close the connection: the server does not acknowledge what was sent.
    NOT_TAKEN = auto()


@dataclass(frozen=True)
class Sight:
    """
    The state of a session at one moment.  Counters are bytes since its beginning.

    :ivar input_ended: whether the end of input has been read.
    :ivar unread: whether input is left that was not read.
    :ivar has_reader: whether a process reads the output.
    :ivar server_ended: whether the server has ended in order and all is delivered.
    :ivar refused: whether the server's kernel has sent RST for bytes it did not take.
    :ivar unsent: bytes that were read and are not given to the kernel.
    :ivar unacknowledged: bytes that the kernel holds for the server.
    :ivar undelivered: bytes from the server that the output has not taken.
    :ivar heard: counter of bytes from the server.
    :ivar sent: counter of bytes to the server.
    :ivar answered: whether the server has sent something since the last byte to it.
    """

    input_ended: bool = False
    unread: Unread = Unread.UNKNOWN
    has_reader: bool = True
    server_ended: bool = False
    refused: bool = False
    unsent: int = 0
    unacknowledged: int = 0
    undelivered: int = 0
    heard: int = 0
    sent: int = 0
    answered: bool = False

    @property
    def settled(self) -> bool:
        """Whether the server's kernel has acknowledged all that was read."""
        return not (self.unsent or self.unacknowledged)


class Cause(Enum):
    """The conditions that end a phase."""

    #: The server has ended in order.
    SERVER_ENDED = auto()
    #: Input has ended.
    INPUT_ENDED = auto()
    #: Input is left that the server did not wait for.
    INPUT_LEFT = auto()
    #: No process reads the output, and the session needs a reader.
    DESERTED = auto()
    #: No process reads the output.
    NO_READER = auto()
    #: The server has been quiet for long enough.
    QUIET = auto()
    #: All that was read is acknowledged.
    SETTLED = auto()
    #: All that was read is acknowledged, and no more input is expected.
    WHOLE = auto()
    #: The server has refused what is not acknowledged.
    REFUSED = auto()
    #: Bytes are unacknowledged, and nothing has moved for ``STUCK`` seconds.
    STUCK = auto()
    #: Nothing has moved for the time limit of the phase.
    EXPIRED = auto()


_Row = tuple[Cause, Phase, Step]

_SERVER_ENDS: _Row = (Cause.SERVER_ENDED, Phase.CHECKING, Step.NOTHING)
_READER_LEAVES: _Row = (Cause.NO_READER, Phase.LEAVING, Step.NOTHING)


def _never_taken(step: Step) -> tuple[_Row, ...]:
    """Return the rows of a server that does not take all bytes, which end in a step."""
    return (Cause.REFUSED, Phase.OVER, step), (Cause.STUCK, Phase.OVER, step)


#: The transitions of each phase: the first row whose cause holds is taken.
_TABLE: Mapping[Phase, tuple[_Row, ...]] = {
    Phase.OPEN: (
        _SERVER_ENDS,
        (Cause.INPUT_ENDED, Phase.WAITING, Step.NOTHING),
        (Cause.DESERTED, Phase.DESERTED, Step.NOTHING),
    ),
    Phase.DESERTED: (
        _SERVER_ENDS,
        (Cause.INPUT_ENDED, Phase.LEAVING, Step.NOTHING),
        (Cause.EXPIRED, Phase.OVER, Step.NO_READER),
    ),
    Phase.WAITING: (
        _SERVER_ENDS,
        _READER_LEAVES,
        (Cause.QUIET, Phase.TOLD, Step.TELL),
    ),
    Phase.TOLD: (_SERVER_ENDS, _READER_LEAVES),
    Phase.LEAVING: (
        (Cause.SETTLED, Phase.LINGERING, Step.HANG_UP),
        *_never_taken(Step.NOT_TAKEN),
    ),
    Phase.LINGERING: (
        (Cause.SERVER_ENDED, Phase.OVER, Step.CLOSE),
        (Cause.EXPIRED, Phase.OVER, Step.LEAVE),
    ),
    Phase.CHECKING: (
        (Cause.INPUT_LEFT, Phase.OVER, Step.LEFT_UNSENT),
        *_never_taken(Step.LEFT_UNSENT),
        (Cause.WHOLE, Phase.OVER, Step.CLOSE),
    ),
    Phase.OVER: (),
}

#: Seconds after which a phase without movement has expired.
_LIMITS: Mapping[Phase, float] = {
    Phase.DESERTED: DESERTED,
    Phase.LINGERING: LINGER,
}

#: The phases that only an event can end, so that no look is scheduled.
_UNTIMED = (Phase.OPEN, Phase.OVER)


class Farewell:
    """
    The state machine for the end of one session.

    Time is counted in looks, not read from a clock: while the process is stopped by
    SIGSTOP the clock goes on, and the server is not silent.

    :ivar phase: how far the end has come.
    """

    def __init__(
        self,
        clock: IReactorTime,
        shutdown: Shutdown,
        see: Callable[[], Sight],
        act: Callable[[Step], None],
        *,
        typed: bool,
        needed: bool,
    ) -> None:
        """
        :param shutdown: how long a server has to be quiet.
        :param see: returns the current state of the session.
        :param act: takes a step.
        :param typed: whether the input is a terminal.
        :param needed: whether the session fails when the output loses its reader.
        """
        self._clock = clock
        self._shutdown = shutdown
        self._see = see
        self._act = act
        self._typed = typed
        self._needed = needed
        self._seen: Sight | None = None
        self._looks = 0
        self._call: IDelayedCall | None = None
        self.phase = Phase.OPEN

    def look(self) -> None:
        """Look at the session after an event, and take the steps that follow."""
        while self.phase is not Phase.OVER:
            row = self._row(self._current())
            if row is None:
                break
            _, self.phase, step = row
            self._looks = 0
            if step is not Step.NOTHING:
                self._act(step)
        self._schedule()

    def stop(self) -> None:
        """Decide nothing more: the session is over for another reason."""
        self.phase = Phase.OVER
        self._schedule()

    def patience(self, sight: Sight) -> float:
        """Return how long the server has to be quiet, in seconds."""
        if self._typed:
            return self._shutdown.typed
        return self._shutdown.answered if sight.answered else self._shutdown.unanswered

    def _current(self) -> Sight:
        """Return the current state; count looks from 0 again if it has changed."""
        sight = self._see()
        if sight != self._seen:
            self._looks = 0
        self._seen = sight
        return sight

    def _row(self, sight: Sight) -> _Row | None:
        """Return the first row of the phase whose cause holds."""
        causes = self._causes(sight)
        return next((row for row in _TABLE[self.phase] if row[0] in causes), None)

    def _causes(self, sight: Sight) -> set[Cause]:
        """Return the causes that hold in this state of the session."""
        complete = sight.unread is Unread.NONE or self._still(PENDING)
        holds = {
            Cause.SERVER_ENDED: sight.server_ended,
            Cause.INPUT_ENDED: sight.input_ended,
            Cause.INPUT_LEFT: sight.unread is Unread.SOME,
            Cause.DESERTED: self._needed and not sight.has_reader,
            Cause.NO_READER: not sight.has_reader,
            Cause.QUIET: self._is_quiet(sight),
            Cause.SETTLED: sight.settled,
            Cause.WHOLE: sight.settled and complete,
            Cause.REFUSED: sight.refused,
            Cause.STUCK: not sight.settled and self._still(STUCK),
            Cause.EXPIRED: self._still(_LIMITS.get(self.phase, inf)),
        }
        return {cause for cause, true in holds.items() if true}

    def _is_quiet(self, sight: Sight) -> bool:
        """Return whether the server is to be told that no more will be sent."""
        patience = self.patience(sight)
        if not patience:
            return not sight.unsent
        return sight.settled and not sight.undelivered and self._still(patience)

    def _still(self, seconds: float) -> bool:
        """Return whether nothing has moved for so many seconds, counted in looks."""
        return seconds != inf and self._looks >= ceil(seconds / LOOK)

    def _schedule(self) -> None:
        """Schedule the next look, in the phases that time can end."""
        if self._call is not None and self._call.active():
            if self.phase not in _UNTIMED:
                return
            self._call.cancel()
        self._call = None
        if self.phase not in _UNTIMED:
            self._call = self._clock.callLater(LOOK, self._tick)

    def _tick(self) -> None:
        """Count one look, and look at the session."""
        self._call = None
        self._looks += 1
        self.look()
