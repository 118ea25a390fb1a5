"""
STARTTLS in LMTP: RFC 3207, after LHLO (RFC 2033, 4.1) instead of EHLO.
"""

from __future__ import annotations

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialects.replies import host_word
from twisted_tcpclient.dialects.smtp import negotiate
from twisted_tcpclient.dialogue import Dialogue


def dialogue(parameters: Parameters) -> Dialogue:
    """Hold the dialogue: greeting, LHLO, STARTTLS."""
    return negotiate("LMTP", b"LHLO", parameters)


def greeting(host: str) -> bytes:
    """Return the reply for which a client waits before LHLO (RFC 2033, 4)."""
    return b"220 %s LMTP\r\n" % host_word(host)


# RFC 2033, 5 forbids port 25 for LMTP; IANA has 24 for private mail systems.
DIALECTS = (Dialect("lmtp", 24, "RFC 2033", dialogue, greeting),)
