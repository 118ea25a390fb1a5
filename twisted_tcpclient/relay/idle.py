"""
The idle timeout of a session.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: The message for a session in which nothing has moved for too long.
IDLED = "timed out: nothing was sent or received"


class Idle:
    """
    A timer that calls when nothing has moved for some time.

    It compares the progress at intervals, instead of being called for each byte:
    that costs nothing per byte, and also shows movement in the kernel's send queue.
    """

    #: The number of looks in the time limit.
    LOOKS = 8

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float | None,
        progress: Callable[[], object],
        expired: Callable[[], None],
    ) -> None:
        """
        :param seconds: the time limit; None for no limit.
        :param progress: returns a value that differs once something has moved.
        :param expired: called once, when nothing has moved for the time limit.
        """
        self._clock = clock
        self._seconds = seconds
        self._progress = progress
        self._expired = expired
        self._seen: object = None
        self._still = 0
        self._call: IDelayedCall | None = None

    def start(self) -> None:
        """Start the timer."""
        self._seen = self._progress()
        self._schedule()

    def stop(self) -> None:
        """Stop looking; ``expired`` is not called any more."""
        self._seconds = None
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _schedule(self) -> None:
        if self._seconds is not None:
            pause = self._seconds / self.LOOKS
            self._call = self._clock.callLater(pause, self._look)

    def _look(self) -> None:
        seen = self._progress()
        # Looks are counted, not time: a time in which the process was stopped (SIGSTOP)
        # is one look, and bytes that came meanwhile are read before the next look.
        self._still = self._still + 1 if seen == self._seen else 0
        self._seen = seen
        if self._still == self.LOOKS:
            self._expired()
        else:
            self._schedule()
