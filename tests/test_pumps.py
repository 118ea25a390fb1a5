"""The ways to move bytes: over every kind of connection, between every kind of
descriptor, within the kernel and through the process.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import itertools
import os
import random
import select
import socket
import tempfile
import termios
import threading
import tty
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from fcntl import F_SETPIPE_SZ, fcntl
from typing import Any

from twisted.internet import reactor as global_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactor, StringTransport
from twisted.trial.unittest import TestCase

from tests.certificates import shared
from tests.command import PATIENCE, TCP, TLS, UNIX, Kind, Peer, Server
from twisted_tcpclient.endpoints import SocketEndpoint, secured
from twisted_tcpclient.errors import LeftUnsent, LocalFailure, TCPClientError
from twisted_tcpclient.relay import movers
from twisted_tcpclient.relay import pump as pumps
from twisted_tcpclient.relay.descriptors import (
    CHUNK,
    Rest,
    Watch,
    has_reader,
    output,
    reader,
    rest,
    widen,
)
from twisted_tcpclient.relay.holder import Holder
from twisted_tcpclient.relay.movers import Copy, SendFile, Splice, mover, writer
from twisted_tcpclient.relay.pump import Pump
from twisted_tcpclient.relay.relay import Local, Relay
from twisted_tcpclient.relay.wire import Wire
from twisted_tcpclient.settings import RelaySettings, Shutdown, TLSSettings
from twisted_tcpclient.tls import ConnectionCreator, records
from twisted_tcpclient.tls.records import Records

reactor: Any = global_reactor

MIB = 2**20


def text(size: int) -> bytes:
    """Lines of a terminal, of so many bytes."""
    line = base64.encodebytes(random.Random(size).randbytes(54))
    return (line * (size // len(line) + 1))[: size - 1] + b"\n"


#: Servers of these tests wait for the end of what is sent.
SETTINGS = RelaySettings(idle=PATIENCE, shutdown=Shutdown.after(0))


def digest(data: bytes) -> str:
    """What tells big things apart."""
    return f"{len(data)} bytes {hashlib.sha256(data).hexdigest()}"


class PumpTestCase(TestCase):
    """Relays within this process; those that they talk to run in threads."""

    def setUp(self) -> None:
        """Have threads, and dice that fall the same way each time."""
        self.pool = ThreadPoolExecutor(8)
        self.addCleanup(self.pool.shutdown)
        self.dice = random.Random(4)

    async def connect(
        self, kind: Kind, server: Server, session: Callable[[Any], Any] = Records
    ) -> Wire:
        """A connection to that server, out of Twisted's hands."""
        endpoint: Any
        if kind.unix:
            endpoint = SocketEndpoint(reactor, server.address, PATIENCE)
        else:
            endpoint = TCP4ClientEndpoint(reactor, *server.address)
        if kind.secure:
            settings = TLSSettings(authorities=str(shared().ca), name="localhost")
            creator = ConnectionCreator(settings)
            endpoint = secured(creator, endpoint, reactor)
            self.patch(records, "Records", session)
        connected: Any = await endpoint.connect(Factory.forProtocol(Holder))
        wire: Wire = await connected.wire(reactor)
        return wire

    async def relay(
        self, kind: Kind, server: Server, reading: int, writing: int, fast: bool
    ) -> TCPClientError | None:
        """Join both to a server, and return how that ended."""
        wire = await self.connect(kind, server)
        return await self.join(wire, reading, writing, fast)

    async def join(
        self, wire: Wire, reading: int, writing: int, fast: bool
    ) -> TCPClientError | None:
        """Join both to a connection, and return how that ended."""
        written = output(writing)
        os.close(writing)
        local = Local(reading, written.fd, "input", "output", needed=True)
        try:
            await Relay(reactor, wire, local, SETTINGS, fast=fast).finished
        except TCPClientError as error:
            return error
        return None

    # What is read.

    def feed(self, write: Callable[[bytes], object], data: bytes) -> Future[None]:
        """Write in pieces of any size."""

        def pieces() -> None:
            position = 0
            while position < len(data):
                size = self.dice.choice((1, 100, 1460, 4096, 40000, 300000))
                write(data[position : position + size])
                position += size

        return self.pool.submit(pieces)

    def from_pipe(self, data: bytes) -> int:
        """A pipe that this comes from."""
        reading, writing = os.pipe()
        file = open(writing, "wb", buffering=0)  # noqa: SIM115
        self.feed(all_of(file.write), data).add_done_callback(lambda _: file.close())
        return reading

    def from_file(self, data: bytes) -> int:
        """A file that has this, behind what was read before."""
        with tempfile.TemporaryFile(buffering=0) as file:
            file.write(b"read before" + data)
            file.seek(len(b"read before"))
            return os.dup(file.fileno())

    def from_socket(self, data: bytes) -> int:
        """A socket that this comes from."""
        ours, theirs = socket.socketpair()
        self.feed(ours.sendall, data).add_done_callback(lambda _: ours.close())
        return theirs.detach()

    def from_terminal(self, data: bytes) -> int:
        """A terminal on which this is typed."""
        master, slave = os.openpty()
        modes = termios.tcgetattr(slave)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(slave, termios.TCSANOW, modes)

        def type_in() -> None:
            for line in data.splitlines(keepends=True):
                os.write(master, line)
            os.write(master, b"\x04")

        self.pool.submit(type_in)
        self.addCleanup(os.close, master)
        return slave

    def from_null(self, data: bytes) -> int:
        """/dev/null."""
        return os.open(os.devnull, os.O_RDONLY)

    # What is written.

    def drain(self, read: Callable[[int], bytes]) -> Future[bytes]:
        """Read in pieces of any size, to the end."""

        def pieces() -> bytes:
            received = bytearray()
            # A terminal's end is an error.
            with contextlib.suppress(OSError):
                while piece := read(self.dice.choice((100, 5000, 65536, 300000))):
                    received += piece
            return bytes(received)

        return self.pool.submit(pieces)

    def to_pipe(self) -> tuple[int, Future[bytes]]:
        """A pipe, and what comes out of it."""
        reading, writing = os.pipe()
        drained = self.drain(lambda size: os.read(reading, size))
        drained.add_done_callback(lambda _: os.close(reading))
        return writing, drained

    def to_socket(self) -> tuple[int, Future[bytes]]:
        """A socket, and what comes out of it."""
        ours, theirs = socket.socketpair()
        drained = self.drain(ours.recv)
        drained.add_done_callback(lambda _: ours.close())
        return theirs.detach(), drained

    def to_terminal(self) -> tuple[int, Future[bytes]]:
        """A terminal, and what it shows."""
        master, slave = os.openpty()
        tty.setraw(slave)
        drained = self.drain(lambda size: os.read(master, size))
        drained.add_done_callback(lambda _: os.close(master))
        return slave, drained

    def to_file(self, mode: str = "w+b") -> tuple[int, Future[bytes]]:
        """A file, and what is in it in the end."""
        file = tempfile.TemporaryFile(mode, buffering=0)  # noqa: SIM115
        self.addCleanup(file.close)

        def contents() -> bytes:
            file.seek(0)
            return bytes(file.read())

        return os.dup(file.fileno()), Later(contents)

    def to_log(self) -> tuple[int, Future[bytes]]:
        """A file that is appended to: the kernel does not splice there."""
        return self.to_file("a+b")

    def to_null(self) -> tuple[int, None]:
        """/dev/null, of which nothing comes back."""
        return os.open(os.devnull, os.O_WRONLY), None


class Later(Future[bytes]):
    """A result that is found out when it is asked for."""

    def __init__(self, find: Callable[[], bytes]) -> None:
        super().__init__()
        self._find = find

    def result(self, timeout: float | None = None) -> bytes:
        """Find it out."""
        return self._find()


def all_of(write: Callable[[Any], int | None]) -> Callable[[bytes], None]:
    """Write all, where a write may be short."""

    def writes(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[write(view) or 0 :]

    return writes


class Asked:
    """A session of TLS that has much to answer, whatever it is sent."""

    ended = None
    kept = b""

    def __init__(self) -> None:
        self._answer = b""

    def decrypt(self, data: bytes) -> list[bytes]:
        """Nothing for anybody else."""
        self._answer = bytes(8 * MIB)
        return []

    def encrypt(self, data: bytes) -> bytes:
        """As it is."""
        return data

    def close_notify(self) -> bytes:
        """Not needed."""
        return b""

    def pending(self) -> bytes:
        """The answer."""
        answer, self._answer = self._answer, b""
        return answer


def limit_buffer(wire: Wire) -> None:
    """Let the kernel hold little of what is sent."""
    with socket.socket(fileno=os.dup(wire.fileno())) as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**16)


class BatteryTests(PumpTestCase):
    """Bytes go both ways at once, in pieces of any size, and all arrive."""

    async def check(
        self, kind: Kind, fast: bool, up: str, down: str, size: int
    ) -> None:
        """What is read is sent, and the other way round, a late reply as well."""
        name = f"{kind.name} {up} {down} {'fast' if fast else 'plain'}"
        question = b"" if up == "null" else text(size)
        answer = random.Random(size).randbytes(size + 12345)

        def exchange(peer: Peer) -> bytes:
            received = peer.exchange(answer)
            peer.send(b"late")
            peer.finish()
            return received

        writing, drained = getattr(self, f"to_{down}")()
        with kind.serve(exchange) as server:
            reading = getattr(self, f"from_{up}")(question)
            error = await self.relay(kind, server, reading, writing, fast)
            self.assertIsNone(error, name)
            self.assertEqual(digest(server.result()), digest(question), name)
        if drained is not None:
            received = drained.result(PATIENCE)
            self.assertEqual(digest(received), digest(answer + b"late"), name)

    async def battery(self, kind: Kind) -> None:
        """All descriptors, both ways."""
        inputs = {"pipe": MIB, "file": MIB, "null": MIB, "socket": MIB}
        outputs = {"pipe": MIB, "file": MIB, "log": MIB, "null": MIB, "socket": MIB}
        inputs["terminal"] = outputs["terminal"] = 20_000
        pairs = [
            *((up, "pipe") for up in inputs),
            *(("pipe", down) for down in outputs),
        ]
        pairs += [(end, end) for end in inputs]
        for fast, (up, down) in itertools.product((True, False), pairs):
            await self.check(kind, fast, up, down, min(inputs[up], outputs[down]))

    async def test_tcp(self) -> None:
        """Over TCP, in the kernel and through the process."""
        await self.battery(TCP)

    async def test_unix(self) -> None:
        """Over UNIX sockets, in the kernel and through the process."""
        await self.battery(UNIX)

    async def test_tls(self) -> None:
        """Over TLS, where all goes through the process."""
        await self.battery(TLS)

    async def test_much(self) -> None:
        """So does much more than any pipe holds, or is moved in one turn."""
        for kind, fast in itertools.product((TCP, TLS), (True, False)):
            await self.check(kind, fast, "pipe", "pipe", 12 * MIB)
            await self.check(kind, fast, "file", "file", 12 * MIB)


class StallTests(PumpTestCase):
    """Somebody does not read."""

    async def test_stalls(self) -> None:
        """While our reader stalls, what we send arrives; then all the rest does."""
        up, down = random.Random(1).randbytes(3 * MIB), bytes(24 * MIB)

        async def check(kind: Kind, fast: bool) -> None:
            sent = threading.Event()

            def pour(peer: Peer) -> bytes:
                rest = peer.send_until_still(down)
                assert rest, "nothing held the server back"
                received = peer.exactly(len(up))
                sent.set()
                peer.send(rest)
                peer.finish()
                return received

            def late(size: int) -> bytes:
                assert sent.wait(PATIENCE)
                return os.read(reading, size)

            reading, writing = os.pipe()
            drained = self.drain(late)
            with kind.serve(pour) as server:
                source = self.from_pipe(up)
                error = await self.relay(kind, server, source, writing, fast)
                self.assertIsNone(error)
                self.assertEqual(digest(server.result()), digest(up))
            self.assertEqual(digest(drained.result(PATIENCE)), digest(down))
            os.close(reading)

        for kind, fast in itertools.product((TCP, UNIX, TLS), (True, False)):
            await check(kind, fast)


class EndTests(PumpTestCase):
    """How it ends when not all can be moved."""

    async def test_offset(self) -> None:
        """
        When the server ends too early, that is an error; and what it was not
        sent of a file is there for whoever reads next.
        """
        data, start = random.Random(2).randbytes(32 * MIB), 8 * MIB + 5

        def early(peer: Peer) -> bytes:
            peer.half_close()
            return peer.rest()

        for kind, fast in itertools.product((TCP, UNIX), (True, False)):
            with tempfile.TemporaryFile() as file, kind.serve(early) as server:
                file.write(data)
                file.flush()
                file.seek(start)
                wire = await self.connect(kind, server)
                # It is to be stuck in the middle of what it has taken.
                limit_buffer(wire)
                error = await self.join(
                    wire, os.dup(file.fileno()), self.to_null()[0], fast
                )
                self.assertIsInstance(error, LeftUnsent)
                received = server.result()
                end = start + len(received)
                self.assertEqual(os.lseek(file.fileno(), 0, os.SEEK_CUR), end)
                self.assertEqual(digest(received), digest(data[start:end]))

    async def test_left_in_pipe(self) -> None:
        """
        When the server ends, and there is input that it did not want, that is an
        error.
        """
        done = threading.Event()

        def early(peer: Peer) -> None:
            peer.half_close()
            done.wait(PATIENCE)

        for kind, fast in itertools.product((TCP, UNIX, TLS), (True, False)):
            done.clear()
            reading, writing = os.pipe()
            # More than the buffers of the sockets hold.
            fcntl(writing, F_SETPIPE_SZ, MIB)
            with kind.serve(early) as server:
                wire = await self.connect(kind, server)
                limit_buffer(wire)
                os.write(writing, bytes(MIB))
                error = await self.join(wire, reading, self.to_null()[0], fast)
                done.set()
            os.close(writing)
            self.assertIsInstance(error, LeftUnsent)
            self.assertEqual(
                str(error),
                "the server closed the connection before all of input was sent",
            )

    async def test_full(self) -> None:
        """A disk that is full is an error."""

        def speak(peer: Peer) -> None:
            peer.send(b"hello")
            peer.gone()

        for kind, fast in itertools.product((TCP, UNIX, TLS), (True, False)):
            reading, writing = os.pipe()
            with kind.serve(speak) as server:
                full = os.open("/dev/full", os.O_WRONLY)
                error = await self.relay(kind, server, reading, full, fast)
            os.close(writing)
            self.assertIsInstance(error, LocalFailure)
            self.assertEqual(
                str(error), "unable to write output: no space left on device"
            )

    async def test_no_reader(self) -> None:
        """A reader that leaves is an error, though nothing is said any more."""

        def speak(peer: Peer) -> None:
            peer.send(b"hello")
            peer.gone()

        def leave(reading: int) -> None:
            os.read(reading, 5)
            os.close(reading)

        for kind, fast in itertools.product((TCP, UNIX, TLS), (True, False)):
            reading, writing = os.pipe()
            out, into = os.pipe()
            leaving = self.pool.submit(leave, out)
            with kind.serve(speak) as server:
                error = await self.relay(kind, server, reading, into, fast)
            leaving.result(PATIENCE)
            os.close(writing)
            self.assertEqual(str(error), "unable to write output: broken pipe")

    async def test_typed_late(self) -> None:
        """What is typed when the server has just said close_notify is no error."""
        ready = threading.Event()

        def speak(peer: Peer) -> bytes:
            assert ready.wait(PATIENCE)
            peer.half_close()
            return peer.rest()

        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        with TLS.serve(speak) as server:
            wire = await self.connect(TLS, server)

            def together() -> None:
                ready.set()
                select.select([wire.fileno()], [], [], PATIENCE)
                os.write(master, b"late\n")

            reactor.callLater(0, together)
            error = await self.join(wire, slave, self.to_null()[0], True)
            server.result()
        self.assertIsNone(error)

    async def test_unheard(self) -> None:
        """A server that asks TLS for answers, and never reads one, is given up."""
        over = threading.Event()

        def ask(peer: Peer) -> None:
            assert peer._tls is not None
            for _ in range(3):
                peer._tls.send(bytes(1000))
            over.wait(PATIENCE)

        reading, writing = os.pipe()
        with TLS.serve(ask) as server:
            wire = await self.connect(TLS, server, lambda _: Asked())
            error = await self.join(wire, reading, self.to_null()[0], True)
            over.set()
        os.close(writing)
        self.assertEqual(str(error), "the server does not read TLS's answers")

    async def test_end_of_turn(self) -> None:
        """The end is seen though it comes with the last bytes of a turn."""
        self.patch(pumps, "TURN", 1)

        def speak(peer: Peer) -> None:
            assert peer._tls is not None
            peer._tls.send(bytes(1000))
            peer.half_close()
            peer.rest()

        reading, writing = os.pipe()
        with TLS.serve(speak) as server:
            sink, drained = self.to_pipe()
            wire = await self.connect(TLS, server)
            error = await self.join(wire, reading, sink, True)
        os.close(writing)
        self.assertIsNone(error)
        self.assertEqual(drained.result(PATIENCE), bytes(1000))


class ChoiceTests(PumpTestCase):
    """Which way is taken."""

    def test_mover(self) -> None:
        """
        Pipes and our own sockets are spliced, files sent; neither are terminals,
        sockets that block, and files that are read with O_DIRECT.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        master, slave = os.openpty()
        reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        with tempfile.NamedTemporaryFile() as file:
            direct = os.open(file.name, os.O_RDONLY | os.O_DIRECT)
            for source, sink, expected in (
                (reading, ours.fileno(), Splice),
                (file.fileno(), ours.fileno(), SendFile),
                (ours.fileno(), writing, Splice),
                (ours.fileno(), null, Splice),
                (ours.fileno(), slave, Copy),
                (theirs.fileno(), writing, Copy),
                (reading, theirs.fileno(), Copy),
                (direct, ours.fileno(), Copy),
                (slave, ours.fileno(), Copy),
                (null, ours.fileno(), Copy),
            ):
                chosen = mover(source, sink, Copy(list, writer(sink)))
                self.assertIsInstance(chosen, expected)
                chosen.close()
        ours.close()
        theirs.close()
        for descriptor in (master, slave, reading, writing, null, direct):
            os.close(descriptor)

    def test_widen(self) -> None:
        """A pipe is made to hold more, anything else is left alone."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        widen(writing)
        self.assertGreater(os.write(writing, bytes(4 * CHUNK)), 2**16)
        os.close(reading)
        os.close(writing)
        with tempfile.TemporaryFile() as file:
            widen(file.fileno())


class PiecesTests(PumpTestCase):
    """Data that comes in many pieces, as TLS has them."""

    def test_many(self) -> None:
        """More pieces are written than the kernel takes at a time."""
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        copy = Copy(list, writer(writing), [b"x"] * 5000)
        while copy.held:
            copy.give()
        self.assertEqual(os.read(reading, CHUNK), b"x" * 5000)
        os.close(reading)
        os.close(writing)


class FileTests(PumpTestCase):
    """Files are sent as far as they go."""

    async def test_without_size(self) -> None:
        """A file of /proc does not say how long it is, and is sent in whole."""
        with open("/proc/self/limits", "rb") as file:
            whole = file.read()
        self.assertGreater(len(whole), 0)
        for kind, fast in itertools.product((TCP, UNIX), (True, False)):
            with kind.serve(lambda peer: peer.exchange(b"")) as server:
                source = os.open("/proc/self/limits", os.O_RDONLY)
                sink = self.to_null()[0]
                self.assertIsNone(await self.relay(kind, server, source, sink, fast))
                self.assertEqual(server.result(), whole)

    def test_shrinks(self) -> None:
        """One that is cut off meanwhile is sent up to where it ends now."""
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile(buffering=0) as file, ours, theirs:
            file.write(b"0123456789")
            file.seek(2)
            copy = Copy(reader(file.fileno()), writer(ours.fileno()))
            sent = SendFile(file.fileno(), ours.fileno(), copy)
            self.assertEqual(sent.take(), 8)
            file.truncate(6)
            self.assertEqual((sent.give(), sent.held), (4, 4))
            self.assertRaises(OSError, sent.give)
            self.assertRaises(EOFError, sent.copied().take)
            self.assertEqual(theirs.recv(100), b"2345")

    async def test_less_than_size(self) -> None:
        """A file may hold less than its size, as those of /sys do."""
        whole = random.Random(4).randbytes(CHUNK)
        for kind in (TCP, UNIX):
            with (
                tempfile.TemporaryFile(buffering=0) as file,
                kind.serve(lambda peer: peer.exchange(b"")) as server,
            ):
                file.write(whole)
                file.seek(0)
                self.patch(movers, "remaining", lambda fd: 4091)
                source, sink = os.dup(file.fileno()), self.to_null()[0]
                self.assertIsNone(await self.relay(kind, server, source, sink, True))
                self.assertEqual(server.result(), whole)

    async def test_write_only(self) -> None:
        """A file that cannot be read is no fault of the network's."""
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(b"something")
            for kind, fast in itertools.product((TCP, UNIX), (True, False)):
                with kind.serve(lambda peer: peer.rest()) as server:
                    source = os.open(file.name, os.O_WRONLY)
                    sink = self.to_null()[0]
                    error = await self.relay(kind, server, source, sink, fast)
                    self.assertIsInstance(error, LocalFailure)

    def test_grows(self) -> None:
        """What is appended while the end is looked at is sent, too."""
        ours, theirs = socket.socketpair()
        with tempfile.TemporaryFile(buffering=0) as file, ours, theirs:
            copy = Copy(reader(file.fileno()), writer(ours.fileno()))
            sent = SendFile(file.fileno(), ours.fileno(), copy)
            self.assertRaises(OSError, sent.take)
            file.write(b"more")
            file.seek(0)
            rest = sent.copied()
            rest.take()
            rest.give()
            self.assertEqual(theirs.recv(100), b"more")


class TurnTests(PumpTestCase):
    """What a pump does in a turn."""

    def test_message(self) -> None:
        """After a short message no more is asked for before it is announced."""
        given: list[int] = []
        coming = [pumps.MESSAGE, 10, 20, 30]

        def read() -> list[bytes]:
            return [bytes(coming.pop(0))]

        def write(pieces: list[bytes]) -> int:
            given.append(sum(map(len, pieces)))
            return given[-1]

        memory = MemoryReactor()
        watch = Watch(memory, 0, lambda: None, lambda: None)
        pump = Pump(Copy(read, write), watch, watch, watch, self.fail, self.fail)
        pump.turn()
        self.assertEqual((given, coming), ([pumps.MESSAGE, 10], [20, 30]))
        self.assertEqual(memory.getReaders(), [watch])
        pump.turn()
        self.assertEqual((given[2:], coming), ([20], [30]))

    def test_nothing(self) -> None:
        """Who takes what nothing comes of lets others have their turn."""
        taken: list[int] = []

        def read() -> list[bytes]:
            taken.append(1)
            return []

        watch = Watch(MemoryReactor(), 0, lambda: None, lambda: None)
        pump = Pump(Copy(read, len), watch, watch, watch, self.fail, self.fail)
        pump.turn()
        self.assertEqual(len(taken), 1)

    def test_much(self) -> None:
        """Who takes much does so, too, some time."""
        taken: list[int] = []

        def read() -> list[bytes]:
            taken.append(1)
            return [bytes(CHUNK)]

        memory = MemoryReactor()
        watch = Watch(memory, 0, lambda: None, lambda: None)
        copy = Copy(read, lambda pieces: sum(map(len, pieces)))
        pump = Pump(copy, watch, watch, watch, self.fail, self.fail)
        pump.turn()
        self.assertEqual((len(taken), memory.getReaders()), (pumps.TURN, [watch]))

    def test_within(self) -> None:
        """One who is told of something while it takes does not begin another turn."""
        self.patch(pumps, "MESSAGE", 0)
        given: list[bytes] = []
        coming = [[b"one"], [b"two"]]

        def read() -> list[bytes]:
            if not coming:
                raise EOFError
            pieces = coming.pop(0)
            pump.turn()
            return pieces

        def write(pieces: list[bytes]) -> int:
            given.extend(pieces)
            return sum(map(len, pieces))

        with open(os.devnull, "rb") as null:
            watch = Watch(reactor, null.fileno(), lambda: None, lambda: None)
            ended: list[Exception | None] = []
            pump = Pump(
                Copy(read, write), watch, watch, watch, ended.append, ended.append
            )
            pump.turn()
        self.assertEqual((given, ended), ([b"one", b"two"], [None]))

    def test_asked_within(self) -> None:
        """One who is asked for more while it gives does not give the same again."""
        given: list[bytes] = []
        coming = [b"one", b"two", b"three"]

        def write(pieces: list[bytes]) -> int:
            given.extend(pieces)
            if len(given) == 2:
                pump.turn()
            return sum(map(len, pieces))

        watch = Watch(MemoryReactor(), 0, lambda: None, lambda: None)
        copy = Copy(lambda: [coming.pop(0)], write)
        pump = Pump(copy, watch, watch, watch, self.fail, self.fail)
        for _ in range(3):
            pump.turn()
        self.assertEqual(given, [b"one", b"two", b"three"])


class LentTests(PumpTestCase):
    """A connection that stays in Twisted's hands."""

    def held(self, holder: Holder) -> Wire:
        """Return what a holder holds as a wire, which needs no wait."""
        wire: Wire = self.successResultOf(Deferred.fromCoroutine(holder.wire(Clock())))
        return wire

    def test_gone(self) -> None:
        """When it has gone, what would be written is not taken for sent."""
        transport = StringTransport()
        holder = Holder()
        holder.makeConnection(transport)
        wire = self.held(holder)
        wire.watch(None, lambda: None, lambda: None)
        up = wire.upload(-1, lambda: [b"data"], True)
        up.take()
        self.assertEqual((up.give(), transport.value()), (4, b"data"))
        producer: Any = transport.producer
        producer.pauseProducing()
        up.take()
        self.assertRaises(BlockingIOError, up.give)
        holder.connectionLost()
        self.assertRaises(BrokenPipeError, up.give)

    def ended(self, end: Callable[[Peer], object], said: bytes) -> Callable[[], int]:
        """What reads from a connection that its server has ended, and that Twisted
        takes to have ended in good order; something is said to the server after that.
        """
        with socket.create_server(("127.0.0.1", 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
        with client:
            transport: Any = StringTransport()
            transport.fileno = client.fileno
            holder = Holder()
            holder.makeConnection(transport)
            wire = self.held(holder)
            end(Peer(server))
            poll = select.poll()
            poll.register(client, select.POLLIN)
            poll.poll()
            if said:
                client.send(said)
                # The answer is a reset.
                poll.modify(client, 0)
                poll.poll()
        holder.connectionLost()
        return wire.download(-1, True).take

    def test_reset(self) -> None:
        """A reset is one where Twisted saw an end in good order, as it does of an
        error that comes before there is anything to read.
        """
        self.assertRaises(ConnectionResetError, self.ended(Peer.reset, b""))

    def test_end(self) -> None:
        """An end in good order is one, whatever the server makes of what comes after
        it.
        """

        def close(peer: Peer) -> None:
            peer.socket.close()

        self.assertRaises(EOFError, self.ended(close, b""))
        self.assertRaises(EOFError, self.ended(close, b"more"))


class ReaderTests(PumpTestCase):
    """Whether a process may still read what is written."""

    def test_pipe(self) -> None:
        """A pipe has none once its reading end is closed, whatever it holds."""
        reading, writing = os.pipe()
        os.write(writing, b"x")
        self.assertTrue(has_reader(writing))
        os.close(reading)
        self.assertFalse(has_reader(writing))
        os.close(writing)

    def test_unix(self) -> None:
        """A UNIX socket has one until it is closed; a half-close is not the end."""
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                theirs.shutdown(socket.SHUT_WR)
                ours.send(b"x")
                self.assertTrue(has_reader(ours.fileno()))
            self.assertFalse(has_reader(ours.fileno()))

    def test_tcp(self) -> None:
        """Of a TCP socket it is known only if the peer has reset it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        with ours, theirs:
            theirs.shutdown(socket.SHUT_WR)
            self.assertEqual(ours.recv(1), b"")
            self.assertTrue(has_reader(ours.fileno()))
            no_linger = b"\1\0\0\0\0\0\0\0"
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_linger)
            theirs.close()
            self.assertFalse(has_reader(ours.fileno()))

    def test_others(self) -> None:
        """What keeps its bytes needs no reader: a file, a device, a terminal."""
        with open(os.devnull, "wb") as null, tempfile.TemporaryFile() as file:
            self.assertTrue(has_reader(null.fileno()))
            self.assertTrue(has_reader(file.fileno()))
        master, slave = os.openpty()
        os.close(slave)
        self.assertTrue(has_reader(master))
        os.close(master)


class RestTests(PumpTestCase):
    """What is known of the input that was not read."""

    def test_pipe(self) -> None:
        """A pipe has some, or none yet, or none for good once its writer is gone."""
        reading, writing = os.pipe()
        self.assertIs(rest(reading), Rest.UNKNOWN)
        os.write(writing, b"x")
        self.assertIs(rest(reading), Rest.SOME)
        os.read(reading, 1)
        self.assertIs(rest(reading), Rest.UNKNOWN)
        os.write(writing, b"x")
        os.close(writing)
        self.assertIs(rest(reading), Rest.SOME)
        os.read(reading, 1)
        self.assertIs(rest(reading), Rest.NONE)
        os.close(reading)

    def test_socket(self) -> None:
        """The same for a socket, whose peer may have shut down one side only."""
        ours, theirs = socket.socketpair()
        with ours, theirs:
            self.assertIs(rest(ours.fileno()), Rest.UNKNOWN)
            theirs.send(b"x")
            theirs.shutdown(socket.SHUT_WR)
            self.assertIs(rest(ours.fileno()), Rest.SOME)
            ours.recv(1)
            self.assertIs(rest(ours.fileno()), Rest.NONE)

    def test_file(self) -> None:
        """A file has some before its end; so have files of /proc, which have no size,
        and files that are read with O_DIRECT.
        """
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(b"12")
            self.assertIs(rest(file.fileno()), Rest.NONE)
            file.seek(1)
            self.assertIs(rest(file.fileno()), Rest.SOME)
            direct = os.open(file.name, os.O_RDONLY | os.O_DIRECT)
            self.assertIs(rest(direct), Rest.SOME)
            os.close(direct)
        with open("/proc/self/status", "rb", buffering=0) as status:
            self.assertIs(rest(status.fileno()), Rest.SOME)
            status.read()
            self.assertIs(rest(status.fileno()), Rest.NONE)

    def test_of_others(self) -> None:
        """A terminal and a character device have nothing that is the session's."""
        with open(os.devnull, "rb") as null, open("/dev/zero", "rb") as zero:
            self.assertIs(rest(null.fileno()), Rest.NONE)
            self.assertIs(rest(zero.fileno()), Rest.NONE)
        master, slave = os.openpty()
        os.write(master, b"typed ahead\n")
        self.assertIs(rest(slave), Rest.NONE)
        os.close(master)
        os.close(slave)
