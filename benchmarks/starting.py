"""
The time until prog runs: start, connect, secure, hand over.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from twisted.trial.unittest import SkipTest

from benchmarks import traffic
from benchmarks.measure import Goal, Log, Row, Sample, Table, alternate, ratio
from benchmarks.measure import environment as variables
from benchmarks.peers import COMMAND
from benchmarks.traffic import HOST
from tests import certificates, servers

#: The import that every Twisted program makes.
REACTOR = (sys.executable, "-c", "from twisted.internet import reactor")


@contextmanager
def greeting(certificate: Path | None = None, starttls: bool = False) -> Iterator[str]:
    """Run a server that accepts one connection after the other; return its port."""
    listener, port = traffic.listen()
    with listener:
        server = traffic.start(traffic.greet, listener, certificate, starttls)
    try:
        yield port
    finally:
        server.end()


def milliseconds(command: Sequence[str]) -> float:
    """
    Return the time of a command, in milliseconds.

    :raises traffic.NotExact: if it fails.
    """
    began = time.perf_counter()
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, env=variables()
    )
    taken = time.perf_counter() - began
    if done.returncode:
        raise traffic.NotExact(f"{command}: {done.stderr.decode(errors='replace')}")
    return 1000 * taken


def start(runs: int, log: Log) -> list[Table]:
    """Measure from the start of the command to the end of ``true``."""
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

#: The address of a listener, and the names that lead there, for tcpclient and for the C
#: program, which knows only IPv4 and shuffles the addresses.
HOSTS = {
    "one address": ("127.0.0.5", "five.example.test", "five.example.test"),
    "first dead": ("127.0.0.5", "dead.example.test", "racing.example.test"),
    "first refuses": ("127.0.0.8", "many.example.test", "many.example.test"),
}

#: Adds dead.example.test, whose first address does not answer: the system's resolver
#: puts IPv6 before IPv4.
DEAD = """\
ip -6 address add 2001:db8:1::1/128 dev lo nodad
ip -6 route add 2001:db8:2::/64 dev lo
echo 2001:db8:2::1 dead.example.test >>/etc/hosts
echo 127.0.0.5 dead.example.test >>/etc/hosts
"""

#: A program that accepts for ever at an address and port.
ACCEPT = """\
import socket, sys
listener = socket.create_server((sys.argv[1], int(sys.argv[2])), backlog=100)
print(flush=True)
while True:
    listener.accept()[0].close()
"""

PORT = "7001"


def addresses(runs: int, log: Log) -> list[Table]:
    """Measure the same with a first address that does not answer, or refuses."""
    log.step("first address dead, or refused")
    try:
        network = servers.network()
    except SkipTest as error:
        log.complain(f"several addresses: {error}")
        return []
    subprocess.run(network.inside("sh", "-e", "-c", DEAD), check=True)
    with ExitStack() as stack:
        for address in sorted({address for address, _, _ in HOSTS.values()}):
            stack.enter_context(_accepting(network, address))
        kinds = {}
        for what, (_, ours, theirs) in HOSTS.items():
            command = network.inside(*COMMAND, ours, PORT, "true")
            kinds[f"tcpclient/{what}"] = partial(milliseconds, command)
            if shutil.which("tcpclient"):
                command = network.inside("tcpclient", "-RHl0", theirs, PORT, "true")
                kinds[f"C tcpclient/{what}"] = partial(milliseconds, command)
        taken = alternate(kinds, max(1, runs // 2))
    found = {name: Sample(tuple(values)) for name, values in taken.items()}
    rows = []
    alone = found["tcpclient/one address"]
    for what, most in zip(HOSTS, (None, 260, 10), strict=True):
        one = found[f"tcpclient/{what}"]
        samples = {"tcpclient": one, "C tcpclient": found.get(f"C tcpclient/{what}")}
        goals = []
        if most is not None:
            late = one.median - alone.median
            goals = [Goal("ms over one address", most, late, most=True, digits=0)]
        rows.append(Row(what, samples, goals))
    return [
        Table(
            "Several addresses, start to prog",
            "ms",
            rows,
            more=False,
            ratio=False,
            digits=0,
            notes=[
                "The C program shuffles the addresses: its highest figure is the time "
                "with the dead address first.",
            ],
        )
    ]


@contextmanager
def _accepting(network: servers.Network, address: str) -> Iterator[None]:
    """Run a listener in that network."""
    command = network.inside(sys.executable, "-c", ACCEPT, address, PORT)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as listener:
        try:
            assert listener.stdout is not None
            listener.stdout.readline()
            yield
        finally:
            listener.kill()
