"""
The addresses of a host: those that need no look-up, their zones, and their order.
"""

from __future__ import annotations

import errno
import socket
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import patient
from twisted_tcpclient.names.addresses import interleaved, literals, zoned
from twisted_tcpclient.names.resolver import Address

V4: list[Address] = [IPv4Address("TCP", f"192.0.2.{n}", 25) for n in range(1, 5)]
V6: list[Address] = [IPv6Address("TCP", f"2001:db8::{n}", 25) for n in range(1, 5)]


class LiteralTests(SynchronousTestCase):
    """Names that need no look-up."""

    def found(self, host: str) -> list[str]:
        """Return the texts of the addresses, and check their types and ports."""
        addresses = literals(host, 25)
        for address in addresses:
            self.assertEqual((address.type, address.port), ("TCP", 25))
            kind = IPv6Address if ":" in address.host else IPv4Address
            self.assertIsInstance(address, kind)
        return [address.host for address in addresses]

    def test_this_machine(self) -> None:
        """``0`` is this machine, in both families."""
        self.assertEqual(self.found("0"), ["::1", "127.0.0.1"])

    def test_addresses(self) -> None:
        """An IP address stands for itself, with its zone."""
        for host in (
            "127.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "fe80::1%eth0",
            "fe80::1%2",
        ):
            self.assertEqual(self.found(host), [host])

    def test_names(self) -> None:
        """Any other text needs a look-up."""
        for host in (
            "localhost",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "127.000.000.001",
            "300.1.1.1",
            "1.2.3.4.5",
            "00",
        ):
            self.assertEqual(self.found(host), [], host)


class ZoneTests(SynchronousTestCase):
    """The zones of addresses that were looked up (RFC 4007)."""

    def named(self, number: int) -> str:
        """Return the names of interfaces 1 and 2; the second one is not ASCII."""
        names = {1: "eth0", 2: "b\xfcro"}
        if number not in names:
            raise OSError(errno.ENXIO, "no such device")
        return names[number]

    def test_zones(self) -> None:
        """A zone beside an address is put into its text, by name or number."""
        self.patch(socket, "if_indextoname", self.named)
        for zone, text in (
            (0, "fe80::1"),
            (1, "fe80::1%eth0"),
            (2, "fe80::1%2"),
            (3, "fe80::1%3"),
            ("eth1", "fe80::1%eth1"),
        ):
            address = IPv6Address("TCP", "fe80::1", 25, scopeID=zone)
            self.assertEqual(zoned(address), IPv6Address("TCP", text, 25))

    def test_others(self) -> None:
        """An address without a zone, or with it in its text, stays as it is."""
        for address in (
            IPv4Address("TCP", "192.0.2.1", 25),
            IPv6Address("TCP", "2001:db8::1", 25),
            IPv6Address("TCP", "fe80::1%eth0", 25, scopeID=7),
        ):
            self.assertEqual(zoned(address), address)


class InterleavingTests(SynchronousTestCase):
    """The order of attempts (RFC 8305, 4)."""

    def test_turns(self) -> None:
        """The families take turns; that of the first address begins."""
        table: list[tuple[list[Address], list[Address]]] = [
            ([], []),
            (V4[:2], V4[:2]),
            ([*V6[:2], *V4[:2]], [V6[0], V4[0], V6[1], V4[1]]),
            ([*V4[:2], *V6[:2]], [V4[0], V6[0], V4[1], V6[1]]),
            ([*V6[:3], V4[0]], [V6[0], V4[0], V6[1], V6[2]]),
            ([V6[0], *V4[:3]], [V6[0], V4[0], V4[1], V4[2]]),
            ([V4[0], V4[0], V6[0], V4[0]], [V4[0], V6[0]]),
        ]
        for given_order, wanted in table:
            self.assertEqual(interleaved(given_order), wanted)

    @patient
    @given(st.lists(st.sampled_from([*V4, *V6]), max_size=12))
    def test_nothing_is_lost(self, addresses: list[Any]) -> None:
        """
        Each address occurs once.  Within a family the order stays.  No family has two
        turns while the other has addresses left.
        """
        order = interleaved(addresses)
        self.assertEqual(sorted(map(str, order)), sorted(map(str, set(addresses))))
        for kind in (IPv4Address, IPv6Address):
            self.assertEqual(
                [a for a in order if isinstance(a, kind)],
                list(dict.fromkeys(a for a in addresses if isinstance(a, kind))),
            )
        turns = [isinstance(a, IPv4Address) for a in order]
        fewer = min(turns.count(True), turns.count(False))
        for n in range(1, 2 * fewer):
            self.assertNotEqual(turns[n - 1], turns[n])
        self.assertEqual(order[:1], addresses[:1])
