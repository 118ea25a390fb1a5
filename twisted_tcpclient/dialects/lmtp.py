"""
STARTTLS in LMTP: that of SMTP (RFC 3207), after the LHLO of RFC 2033, 4.1.
"""

from __future__ import annotations

from twisted_tcpclient.dialects import Dialect, Parameters
from twisted_tcpclient.dialects.replies import named
from twisted_tcpclient.dialects.smtp import negotiate
from twisted_tcpclient.dialogue import Dialogue


def dialogue(parameters: Parameters) -> Dialogue:
    """Greeting, LHLO, STARTTLS."""
    return negotiate("LMTP", b"LHLO", parameters)


def greeting(host: str) -> bytes:
    """What a client waits for before LHLO (RFC 2033, 4)."""
    return b"220 %s LMTP\r\n" % named(host)


# LMTP may not be spoken on port 25 (RFC 2033, 5); 24 is for private mail systems.
DIALECTS = (Dialect("lmtp", 24, "RFC 2033", dialogue, greeting),)
