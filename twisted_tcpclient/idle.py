"""
The idle timeout of a session.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: What is said of a session in which nothing has moved for too long.
IDLED = "timed out: nothing was sent or received"


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
