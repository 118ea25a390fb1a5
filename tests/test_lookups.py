"""Names and users looked up for prog, in a network namespace with a name server."""

from __future__ import annotations

import functools
import sys
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests import servers
from tests.command import AT_ONCE, Outcome, environment, run, together
from tests.packages import find_program

HOST, INFO, LOCAL = "TCPREMOTEHOST", "TCPREMOTEINFO", "TCPLOCALHOST"


def inside(*arguments: str, **how: Any) -> Outcome:
    """Run the command in the network namespace."""
    network = servers.network()
    command = network.inside(sys.executable, "-m", "twisted_tcpclient")
    return run(*arguments, command=tuple(command), **how)


class LookupTests(SynchronousTestCase):
    """Variables of prog from DNS and ident, as the options say."""

    def setUp(self) -> None:
        """Start servers on several addresses."""
        self.identd = servers.identd()
        self.ports = {host: self.serve(host) for host in ("127.0.0.5", "127.0.0.9")}

    def serve(self, host: str) -> str:
        """Start a server that greets, on one address of the network."""
        network = servers.network()
        # The server stays connected: ident knows only connections that exist.
        greeter = ("sh", "-c", "echo hello; exec cat")
        server = servers.tcpserver(*greeter, host=host, inside=network)
        return str(server.port)

    def told(
        self, *options: str, host: str = "127.0.0.5", **env: str
    ) -> dict[str, str]:
        """Return the variables of names and users in prog's environment."""
        port = self.ports["127.0.0.5" if host == "five.example.test" else host]
        outcome = inside(*options, host, port, "env", env=environment(**env))
        self.assertEqual((outcome.status, outcome.err), (0, ""))
        pairs = [line.split("=", 1) for line in outcome.out.decode().splitlines()]
        return {name: value for name, value in pairs if name in (HOST, INFO, LOCAL)}

    def check(
        self, expected: dict[str, str], *options: str, host: str = "127.0.0.5"
    ) -> None:
        """Check that prog has exactly these variables, and no inherited ones."""
        stale = {HOST: "stale", INFO: "stale", LOCAL: "stale"}

        def told() -> dict[str, str] | None:
            found = self.told(*options, host=host, **stale)
            # oidentd does not know a connection before its server has accepted it,
            # which the test cannot observe; so ask again.
            return None if INFO in expected and INFO not in found else found

        self.assertEqual(servers.eventually(told, "ident to report the user"), expected)

    def test_default(self) -> None:
        """Without options, prog has the names of both ends and the name of the user."""
        expected = {HOST: "five.example.test", LOCAL: "localhost", INFO: "tester"}
        together(
            {
                "address": lambda: self.check(expected),
                "name": lambda: self.check(expected, host="five.example.test"),
            }
        )

    def test_options(self) -> None:
        """
        The options -H, -R and -l each remove or set their own variable, and no other.
        """
        everything = {HOST: "five.example.test", LOCAL: "localhost", INFO: "tester"}

        def without(*names: str) -> dict[str, str]:
            return {k: v for k, v in everything.items() if k not in names}

        cases: dict[tuple[str, ...], dict[str, str]] = {
            ("-H",): without(HOST),
            ("-R",): without(INFO),
            ("-l", "here"): {**everything, LOCAL: "here"},
        }
        together(
            {
                str(options): functools.partial(self.check, expected, *options)
                for options, expected in cases.items()
            }
        )

    def test_no_question(self) -> None:
        """
        A look-up that prog does not need causes no DNS query, neither with -RHl0 nor in
        client mode.
        """
        network = servers.network()
        asked = len(network.log.read_text())
        self.told("-RHl0")
        outcome = inside(*AT_ONCE, "127.0.0.5", self.ports["127.0.0.5"])
        self.assertEqual(outcome, Outcome(0, b"hello\n", ""))
        # The log entry of a later query shows that all earlier queries have been
        # logged.
        self.told("-Rl0", host="127.0.0.9")
        servers.logged(network.log, "127.0.0.9 is NXDOMAIN")
        log = network.log.read_text()[asked:]
        self.assertNotIn("127.0.0.5", log)

    def test_nameless(self) -> None:
        """If an address has no name, the variable is unset, not empty."""
        expected = {LOCAL: "localhost", INFO: "tester"}
        self.check(expected, host="127.0.0.9")


class ConnectTests(SynchronousTestCase):
    """Connections to addresses with zones."""

    def test_zone(self) -> None:
        """
        A link-local address is reached through its zone, with and without brackets.
        """
        network = servers.network()
        ip = find_program("ip", "iproute2")
        added = run(
            *("address", "replace", "fe80::1/64", "dev", "lo", "nodad"),
            command=tuple(network.inside(ip)),
        )
        if added.status:
            raise SkipTest("this kernel gives the loopback no link-local address")
        # The refusal comes from that address, so it has been reached.
        for host in ("fe80::1%lo", "[fe80::1%lo]"):
            outcome = inside(host, "9")
            self.assertEqual(
                outcome.complaint(),
                "unable to connect to fe80::1%lo port 9: connection refused",
            )
