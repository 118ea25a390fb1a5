"""Facts of a connection, and the environment variables that are made of them."""

from __future__ import annotations

import re
from dataclasses import FrozenInstanceError, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.transcripts import patient
from twisted_tcpclient.facts import (
    Facts,
    TLSFacts,
    address_facts,
    environment,
    variables,
)

TLS = TLSFacts(
    protocol="TLSv1.3",
    offered="TLSv1.3",
    cipher="TLS_AES_256_GCM_SHA384",
    server_name="mail.example.org",
    certificate_hash="SHA256:00ff",
    subject="CN=mail.example.org",
)
TCP = Facts(
    protocol="TCP",
    local_ip="192.0.2.1",
    local_port=40000,
    local_host="here.example.org",
    remote_ip="192.0.2.25",
    remote_port=25,
    remote_host="mail.example.org",
    remote_info="joe",
)

#: All variables that describe a connection.
OURS = {
    b"PROTO",
    b"TCPLOCALPORT",
    b"TCPLOCALIP",
    b"TCPLOCALHOST",
    b"TCPREMOTEPORT",
    b"TCPREMOTEIP",
    b"TCPREMOTEHOST",
    b"TCPREMOTEINFO",
    b"SSL_PROTOCOL",
    b"SSL_CIPHER",
    b"SSL_TLS_SNI_SERVERNAME",
    b"SSL_PEER_CERT_HASH",
    b"SSL_PEER_CERT_SUBJECT",
    b"TLS_PROVIDER",
}
STALE = dict.fromkeys(OURS, b"stale")


class AddressTests(SynchronousTestCase):
    """:func:`address_facts`, which asks a transport for its addresses."""

    def test_tcp(self) -> None:
        """
        address_facts() returns both addresses, both ports and PROTO TCP for an IPv4
        transport.
        """
        transport = StringTransport(
            IPv4Address("TCP", "192.0.2.1", 40000), IPv4Address("TCP", "192.0.2.25", 25)
        )
        self.assertEqual(
            address_facts(transport),
            replace(TCP, local_host=None, remote_host=None, remote_info=None),
        )

    def test_tcp6(self) -> None:
        """
        address_facts() returns both addresses, both ports and PROTO TCP6 for an IPv6
        transport.
        """
        transport = StringTransport(
            IPv6Address("TCP", "2001:db8::1", 40000),
            IPv6Address("TCP", "2001:db8::25", 25),
        )
        self.assertEqual(
            address_facts(transport),
            Facts("TCP6", "2001:db8::1", 40000, None, "2001:db8::25", 25),
        )

    def test_unix(self) -> None:
        """address_facts() returns only PROTO UNIX for a UNIX socket."""
        transport = StringTransport(UNIXAddress(None), UNIXAddress("/run/socket"))
        self.assertEqual(address_facts(transport), Facts("UNIX"))

    def test_frozen(self) -> None:
        """Facts are frozen."""
        facts: Any = TCP
        with self.assertRaises(FrozenInstanceError):
            facts.remote_host = "evil.example"


class EnvironmentTests(SynchronousTestCase):
    """:func:`environment`, which makes the environment of prog."""

    def test_tcp(self) -> None:
        """The environment has the variables of tcp-environ(5)."""
        self.assertEqual(
            environment({}, TCP),
            {
                b"PROTO": b"TCP",
                b"TCPLOCALIP": b"192.0.2.1",
                b"TCPLOCALPORT": b"40000",
                b"TCPLOCALHOST": b"here.example.org",
                b"TCPREMOTEIP": b"192.0.2.25",
                b"TCPREMOTEPORT": b"25",
                b"TCPREMOTEHOST": b"mail.example.org",
                b"TCPREMOTEINFO": b"joe",
            },
        )

    def test_order(self) -> None:
        """
        The environment has the variables in the order in which the C program sets them.
        """
        bare = replace(TCP, remote_host=None, remote_info=None)
        self.assertEqual(
            list(environment({}, bare)),
            [
                b"PROTO",
                b"TCPLOCALPORT",
                b"TCPLOCALIP",
                b"TCPLOCALHOST",
                b"TCPREMOTEPORT",
                b"TCPREMOTEIP",
            ],
        )

    def test_absent(self) -> None:
        """An unknown fact leads to no variable, instead of an empty one."""
        bare = Facts("TCP", "192.0.2.1", 1, None, "192.0.2.25", 2)
        self.assertEqual(
            set(environment({}, bare)),
            {
                b"PROTO",
                b"TCPLOCALIP",
                b"TCPLOCALPORT",
                b"TCPREMOTEIP",
                b"TCPREMOTEPORT",
            },
        )

    def test_empty_is_not_absent(self) -> None:
        """
        An empty TCPLOCALHOST that the user gave (-l '') is set to the empty string.
        """
        facts = replace(TCP, local_host="")
        self.assertEqual(environment(STALE, facts)[b"TCPLOCALHOST"], b"")

    def test_stale(self) -> None:
        """
        Inherited variables of another connection are removed, for each kind of
        connection and with or without TLS_PROVIDER.
        """
        bare = replace(TCP, local_host=None, remote_host=None, remote_info=None)
        unix = Facts("UNIX")
        for facts in (TCP, bare, unix, replace(unix, tls=TLS), replace(TCP, tls=TLS)):
            for provider in (False, True):
                result = environment(STALE, facts, provider)
                self.assertEqual(result, environment({}, facts, provider))
                self.assertNotIn(b"stale", result.values())

    def test_all_are_known(self) -> None:
        """OURS, which these tests use, has all names that variables() returns."""
        self.assertEqual({name.encode() for name in variables(TCP)}, OURS)

    def test_unix(self) -> None:
        """The environment of a UNIX socket has PROTO and no other variable."""
        self.assertEqual(environment(STALE, Facts("UNIX")), {b"PROTO": b"UNIX"})

    def test_tls(self) -> None:
        """The environment of a TLS session has the five SSL_ variables."""
        result = environment({}, replace(Facts("UNIX"), tls=TLS))
        self.assertEqual(
            result,
            {
                b"PROTO": b"UNIX",
                b"SSL_PROTOCOL": b"TLSv1.3",
                b"SSL_CIPHER": b"TLS_AES_256_GCM_SHA384",
                b"SSL_TLS_SNI_SERVERNAME": b"mail.example.org",
                b"SSL_PEER_CERT_HASH": b"SHA256:00ff",
                b"SSL_PEER_CERT_SUBJECT": b"CN=mail.example.org",
            },
        )

    def test_tls_without_a_name(self) -> None:
        """Facts of TLS that are None lead to no variable."""
        tls = replace(TLS, server_name=None, certificate_hash=None, subject=None)
        self.assertEqual(
            set(environment(STALE, replace(Facts("UNIX"), tls=tls))),
            {b"PROTO", b"SSL_PROTOCOL", b"SSL_CIPHER"},
        )

    def test_provider(self) -> None:
        """
        TLS_PROVIDER has the C program's format, and is set only on request and with
        TLS.
        """
        facts = replace(TCP, tls=replace(TLS, protocol="TLSv1.2"))
        self.assertNotIn(b"TLS_PROVIDER", environment({}, facts))
        self.assertEqual(
            environment({}, facts, True)[b"TLS_PROVIDER"],
            b"tcpclient, TLS Server=TLSv1.2, Client=TLSv1.3,"
            b" Ciphers=TLS_AES_256_GCM_SHA384",
        )
        self.assertNotIn(b"TLS_PROVIDER", environment(STALE, TCP, True))

    def test_other_variables(self) -> None:
        """Inherited variables that describe no connection are kept, byte for byte."""
        others = {
            b"PATH": b"/bin",
            b"ODD": b"\xff\x01\n",
            b"TLS_CERTFILE": b"x",
            b"SERVERCA": b"y",
            b"TCPREMOTE": b"z",
        }
        result = environment(others, Facts("UNIX"))
        self.assertEqual(result, {**others, b"PROTO": b"UNIX"})

    def test_inherited_is_not_touched(self) -> None:
        """environment() does not change the mapping that it is given."""
        before = dict(STALE)
        environment(before, Facts("UNIX"))
        self.assertEqual(before, STALE)

    @patient
    @given(st.text(max_size=50))
    def test_no_control_bytes(self, evil: str) -> None:
        """Values are printable ASCII, whatever the facts contain."""
        tls = TLSFacts(evil, evil, evil, evil, evil, evil)
        facts = Facts(evil, evil, 1, evil, evil, 2, evil, evil, tls)
        for value in environment({}, facts, True).values():
            self.assertIsNotNone(re.fullmatch(rb"[ -~]*", value), value)
