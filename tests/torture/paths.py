"""
A path between two network namespaces, with faults applied to its packets.

Not every kernel has netem, which loses and delays packets.  So each end of the path is
a TUN device, and a thread carries packets from one to the other.  A treatment applies
to the connections of one server, found by address family and port.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import heapq
import itertools
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fcntl import ioctl
from pathlib import Path as File
from random import Random
from typing import Any, TypeVar

from twisted.trial.unittest import SkipTest

from tests import servers
from tests.command import Script, Server, listening
from tests.packages import find_program

T = TypeVar("T")

#: The IPv4 and the IPv6 address of each end.
NEAR = ("10.9.0.1", "fd00:9::1")
FAR = ("10.9.0.2", "fd00:9::2")

_CLONE_NEWNS, _CLONE_NEWNET = 0x00020000, 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000

_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16


def _leave() -> None:
    """Move this thread into new network and mount namespaces."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Place:
    """A network namespace with a thread in it, and with its own files in /etc."""

    def __init__(self) -> None:
        """Create the namespaces, with a loopback device and nothing else."""
        if os.geteuid() != 0:
            raise SkipTest("only root can make a network namespace")
        self._thread = ThreadPoolExecutor(1)
        try:
            self.call(_leave)
        except OSError as error:
            raise SkipTest(f"this container may not make namespaces: {error}") from None
        self.tool("mount", "--make-rprivate", "/")
        self.ip("link", "set", "lo", "up")

    def call(self, function: Callable[..., T], *arguments: Any, **named: Any) -> T:
        """
        Call a function in the thread of this place: its sockets and processes are
        there.
        """
        return self._thread.submit(function, *arguments, **named).result()

    def tool(self, *command: str) -> None:
        """Run a program in this place; raise RuntimeError if it fails."""
        done = self.call(subprocess.run, command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{command}: {done.stderr}")

    def ip(self, *words: str) -> None:
        """Run `ip` in this place."""
        self.tool(find_program("ip", "iproute2"), *words)

    def cover(self, **files: str) -> File:
        """
        Mount files over those in /etc, and return the directory that contains them.

        In a name, `_` stands for the dot.  The files may be rewritten later.
        """
        directory = servers.make_directory("etc")
        for name, text in files.items():
            cover = directory / name.replace("_", ".")
            cover.write_text(text)
            self.tool("mount", "--bind", str(cover), f"/etc/{cover.name}")
        return directory

    def listener(self, host: str, port: int = 0) -> socket.socket:
        """Return a TCP socket that listens in this place."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return self.call(socket.create_server, (host, port), family=family, backlog=200)

    @contextlib.contextmanager
    def serving(self, script: Script, host: str) -> Iterator[Server]:
        """
        Follow a script on a port in this place; its `arguments` are host and port.
        """
        listener = self.listener(host)
        port = str(listener.getsockname()[1])
        with listening(listener, script, host, port) as server:
            yield server


@dataclass(frozen=True)
class Packet:
    """An IP packet, and whether it comes from the near end."""

    data: bytes
    outward: bool

    @property
    def is_ipv6(self) -> bool:
        """Whether the packet is IPv6."""
        return self.data[0] >> 4 == 6

    @property
    def _offset(self) -> int:
        return 40 if self.is_ipv6 else (self.data[0] & 15) * 4

    @property
    def is_tcp(self) -> bool:
        """Whether the packet carries TCP."""
        return self.data[6 if self.is_ipv6 else 9] == socket.IPPROTO_TCP

    @property
    def ports(self) -> tuple[int, int]:
        """The source port and the destination port."""
        first, second = struct.unpack_from("!HH", self.data, self._offset)
        return first, second

    @property
    def flags(self) -> int:
        """The TCP flags."""
        return self.data[self._offset + 13]

    @property
    def payload(self) -> int:
        """The offset of the TCP payload in the packet."""
        return self._offset + (self.data[self._offset + 12] >> 4) * 4

    def resets(self) -> list[Packet]:
        """Return a RST for each end, to deliver instead of this packet."""
        first, second = self.ports
        sent, received = struct.unpack_from("!II", self.data, self._offset + 4)
        size = len(self.data) - self.payload + bool(self.flags & (_SYN | _FIN))
        onward = struct.pack("!HHII", first, second, sent, received)
        back = struct.pack("!HHII", second, first, received, sent + size & 0xFFFFFFFF)
        return [self._reset(onward, True), self._reset(back, False)]

    def _reset(self, header: bytes, onward: bool) -> Packet:
        rest = struct.pack("!BBHHH", 5 << 4, _RST | _ACK, 0, 0, 0)
        segment = header + rest
        start, size = (8, 16) if self.is_ipv6 else (12, 4)
        ends = [self.data[start : start + size], self.data[start + size :][:size]]
        ends = ends if onward else ends[::-1]
        pseudo = b"".join(ends) + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
        checked = struct.pack("!H", _checksum(pseudo + segment))
        segment = segment[:16] + checked + segment[18:]
        outward = self.outward is onward
        if self.is_ipv6:
            fixed = struct.pack("!IHBB", 6 << 28, len(segment), socket.IPPROTO_TCP, 64)
            return Packet(fixed + b"".join(ends) + segment, outward)
        fixed = struct.pack(
            "!BBHHHBBH", 0x45, 0, 20 + len(segment), 0, 0, 64, socket.IPPROTO_TCP, 0
        )
        checked = struct.pack("!H", _checksum(fixed + b"".join(ends)))
        return Packet(fixed[:10] + checked + b"".join(ends) + segment, outward)


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


#: The packets to deliver for one packet, each with a delay in seconds.
Fate = list[tuple[float, Packet]]
Treatment = Callable[[Packet], Fate]


def passed(packet: Packet) -> Fate:
    """Deliver the packet."""
    return [(0.0, packet)]


def lossy(rate: float, dice: Random) -> Treatment:
    """Lose packets at random."""
    return lambda packet: [] if dice.random() < rate else passed(packet)


def late(most: float, dice: Random) -> Treatment:
    """Delay each packet by up to `most` seconds, which also changes their order."""
    return lambda packet: [(dice.random() * most, packet)]


def doubled(rate: float, dice: Random) -> Treatment:
    """Deliver packets at random a second time, later."""

    def treat(packet: Packet) -> Fate:
        again = dice.random() < rate
        return passed(packet) + ([(dice.random() / 50, packet)] if again else [])

    return treat


def spoilt(rate: float, dice: Random) -> Treatment:
    """Flip one bit in the payload of packets chosen at random."""

    def treat(packet: Packet) -> Fate:
        data = bytearray(packet.data)
        if len(data) > packet.payload and dice.random() < rate:
            data[dice.randrange(packet.payload, len(data))] ^= 1 << dice.randrange(8)
        return passed(replace(packet, data=bytes(data)))

    return treat


def narrow(most: int) -> Treatment:
    """Lose packets of more than `most` bytes, without ICMP."""
    return lambda packet: [] if len(packet.data) > most else passed(packet)


def swallowed(before: int, family: int = 0) -> Treatment:
    """Lose all packets after the first `before`; if given, only those of one family."""
    count = itertools.count()

    def treat(packet: Packet) -> Fate:
        if family and packet.is_ipv6 != (family == 6):
            return passed(packet)
        return passed(packet) if next(count) < before else []

    return treat


def broken(before: int, family: int = 0) -> Treatment:
    """Answer each packet after the first `before` with a RST to both ends."""
    count = itertools.count()

    def treat(packet: Packet) -> Fate:
        if family and packet.is_ipv6 != (family == 6):
            return passed(packet)
        if next(count) < before:
            return passed(packet)
        # A RST is not answered by a RST (RFC 9293, section 3.10.7.1).
        is_answer = packet.flags & _RST
        return [] if is_answer else [(0.0, reset) for reset in packet.resets()]

    return treat


class Path:
    """Two places joined by a pair of TUN devices."""

    def __init__(self, mtu: int) -> None:
        """
        :param mtu: The MTU in bytes.
        """
        if not os.path.exists("/dev/net/tun"):
            raise SkipTest("this machine has no /dev/net/tun")
        self.near, self.far = Place(), Place()
        self._tuns = [
            self._join(place, addresses, mtu)
            for place, addresses in ((self.near, NEAR), (self.far, FAR))
        ]
        self._treatments: dict[tuple[bool, int], Treatment] = {}
        self._later: list[tuple[float, int, Packet]] = []
        self._count = itertools.count()
        threading.Thread(target=self._carry, daemon=True).start()

    def _join(self, place: Place, addresses: tuple[str, ...], mtu: int) -> int:
        """Create a TUN device in a place, with its addresses."""
        tun: int = place.call(os.open, "/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        request = struct.pack("16sH22x", b"path", _IFF_TUN | _IFF_NO_PI)
        place.call(ioctl, tun, _TUNSETIFF, request)
        place.ip("link", "set", "path", "mtu", str(mtu), "up")
        place.ip("address", "add", f"{addresses[0]}/24", "dev", "path")
        if mtu >= 1280:
            place.ip("address", "add", f"{addresses[1]}/64", "dev", "path", "nodad")
        return tun

    @contextlib.contextmanager
    def treating(self, port: int, treatment: Treatment, *hosts: str) -> Iterator[None]:
        """
        Apply a treatment to all connections to a port of the far end at these hosts.
        """
        # A server of another test may have the same port at the address of the other
        # family.
        places = [(":" in host, port) for host in hosts]
        self._treatments.update(dict.fromkeys(places, treatment))
        try:
            yield
        finally:
            for place in places:
                del self._treatments[place]

    def _treat(self, packet: Packet) -> Fate:
        if not packet.is_tcp:
            return passed(packet)
        place = packet.is_ipv6, packet.ports[packet.outward]
        return self._treatments.get(place, passed)(packet)

    def _carry(self) -> None:
        """Carry packets as long as the process lives."""
        while True:
            wait = self._later[0][0] - time.monotonic() if self._later else None
            timeout = None if wait is None else max(0.0, wait)
            for tun in select.select(self._tuns, [], [], timeout)[0]:
                packet = Packet(os.read(tun, 65536), outward=tun == self._tuns[0])
                for seconds, each in self._treat(packet):
                    due = time.monotonic() + seconds
                    heapq.heappush(self._later, (due, next(self._count), each))
            while self._later and self._later[0][0] <= time.monotonic():
                self._deliver(heapq.heappop(self._later)[2])

    def _deliver(self, packet: Packet) -> None:
        # A packet that the device does not take is lost, as in a real network.
        with contextlib.suppress(OSError):
            os.write(self._tuns[packet.outward], packet.data)


def path(mtu: int = 1500) -> Path:
    """Return the path with this MTU; it is made once and kept."""
    return _made(mtu)


_made = functools.cache(Path)
