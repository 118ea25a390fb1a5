"""
How long it takes until prog runs: start, connect, secure, hand over.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests import certificates, servers

from benchmarks import traffic
from benchmarks.measure import Goal, Log, Row, Sample, Table, alternate, ratio
from benchmarks.measure import environment as variables
from benchmarks.peers import COMMAND
from benchmarks.traffic import HOST

#: What every Twisted program has to do first.
REACTOR = (sys.executable, "-c", "from twisted.internet import reactor")


@contextmanager
def greeting(certificate: Path | None = None, starttls: bool = False) -> Iterator[str]:
    """A server that lets everybody connect: its port."""
    listener, port = traffic.listen()
    with listener:
        server = traffic.start(traffic.greet, listener, certificate, starttls)
    try:
        yield port
    finally:
        server.end()


def milliseconds(command: Sequence[str]) -> float:
    """
    How long a command takes.

    :raises traffic.NotExact: if it fails.
    """
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - what benchmarks are for
        command, stdin=subprocess.DEVNULL, capture_output=True, env=variables()
    )
    taken = time.perf_counter() - began
    if done.returncode:
        raise traffic.NotExact(f"{command}: {done.stderr.decode(errors='replace')}")
    return 1000 * taken


def start(runs: int, log: Log) -> list[Table]:
    """From the start of the command to the end of ``true``."""
    log.step("start to prog")
    certificate = certificates.shared().server
    secure = ("-c", str(certificates.shared().ca))
    with (
        greeting() as plain,
        greeting(certificate) as tls,
        greeting(certificate, starttls=True) as starttls,
    ):
        commands = {
            "plain": (*COMMAND, HOST, plain, "true"),
            "TLS": (*COMMAND, "--tls", *secure, HOST, tls, "true"),
            "STARTTLS": (*COMMAND, "-s", "smtp", *secure, HOST, starttls, "true"),
            "reactor": REACTOR,
            "C": ("tcpclient", "-RHl0", HOST, plain, "true"),
        }
        kinds = {
            name: partial(milliseconds, command)
            for name, command in commands.items()
            if shutil.which(command[0])
        }
        alternate(kinds, 1)
        found = {
            name: Sample(tuple(values))
            for name, values in alternate(kinds, runs).items()
        }
    rows = []
    for name, most in (("plain", 1.1), ("TLS", 1.25), ("STARTTLS", 1.25)):
        one, reactor = found[name], found["reactor"]
        samples = {
            "tcpclient": one,
            "import reactor": reactor,
            "C tcpclient": found.get("C") if name == "plain" else None,
        }
        goal = Goal("x importing the reactor", most, ratio(one, reactor), most=True)
        rows.append(Row(f"start to prog, {name}", samples, [goal]))
    return [
        Table("Start", "ms", rows, more=False, ratio=False, digits=0),
        *addresses(runs, log),
    ]


# Several addresses, some of which do not answer.

#: Who listens where, in a network of its own; and what leads there.
HOSTS = {
    "one address": ("five.example.test", "127.0.0.5"),
    "first of two dead": ("racing.example.test", "127.0.0.5"),
    "first of three refuses": ("many.example.test", "127.0.0.8"),
}

#: Accepts for ever at an address and port.
ACCEPT = """\
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=100)
print(flush=True)
while True:
    listener.accept()[0].close()
"""

PORT = "7001"


def addresses(runs: int, log: Log) -> list[Table]:
    """The same, when the first of the addresses of a host is of no use."""
    log.step("first address dead, or refused")
    try:
        network = servers.network()
    except SkipTest as error:
        log.complain(f"several addresses: {error}")
        return []
    listeners = []
    try:
        for address in sorted({address for _, address in HOSTS.values()}):
            command = network.inside(sys.executable, "-c", ACCEPT, address, PORT)
            listener = subprocess.Popen(  # noqa: S603 - a server of ours
                command, stdout=subprocess.PIPE
            )
            assert listener.stdout is not None
            listener.stdout.readline()
            listeners.append(listener)
        kinds = {
            (who, what): partial(_first_of_no_use, network.inside, who, host)
            for what, (host, _) in HOSTS.items()
            for who in ("tcpclient", "C tcpclient")
            if who == "tcpclient" or shutil.which("tcpclient")
        }
        named = {f"{who}/{what}": kind for (who, what), kind in kinds.items()}
        found = alternate(named, max(3, runs // 3))
    finally:
        for listener in listeners:
            listener.kill()
            listener.communicate()
    rows = []
    alone = _sample(found["tcpclient/one address"])
    for what, most in zip(HOSTS, (None, 260, 10), strict=True):
        one = _sample(found[f"tcpclient/{what}"])
        other = _sample(found.get(f"C tcpclient/{what}", []))
        goals = []
        if most is not None and one is not None and alone is not None:
            late = one.median - alone.median
            goals = [Goal("ms over one address", most, late, most=True, digits=0)]
        if one is not None:
            rows.append(Row(what, {"tcpclient": one, "C tcpclient": other}, goals))
    return [
        Table(
            "Several addresses, start to prog",
            "ms",
            rows,
            more=False,
            ratio=False,
            digits=0,
            notes=["A run in which an address that answers came first is left out."],
        )
    ]


def _sample(values: Sequence[float | None]) -> Sample | None:
    there = tuple(value for value in values if value is not None)
    return Sample(there) if there else None


def _first_of_no_use(
    inside: Callable[..., list[str]], who: str, host: str
) -> float | None:
    """
    How long it takes, or None if the address that answers came first by chance.

    The C program shuffles addresses and does not say which it has tried.
    """
    options = ("-v", "-RHl0")
    command = (*COMMAND, "-v") if who == "tcpclient" else ("tcpclient", *options)
    began = time.perf_counter()
    done = subprocess.run(  # noqa: S603 - what benchmarks are for
        inside(*command, host, PORT, "true"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=variables(),
    )
    taken = time.perf_counter() - began
    if done.returncode:
        raise traffic.NotExact(done.stderr.decode(errors="replace"))
    if who == "tcpclient":
        alive = dict(HOSTS.values())[host]
        tried = re.search(rb"trying (.*)", done.stderr)
        others = host != "five.example.test"
        if tried and others and alive.encode() in tried.group(1):
            return None
    return 1000 * taken
