"""An SMTP server of aiosmtpd: CERTIFICATE LARGEST PORT PLAIN-PORT."""

from __future__ import annotations

import asyncio
import re
import ssl
import sys

from aiosmtpd.smtp import SMTP, Envelope, Session

HOST = "127.0.0.1"


class Handler:
    """What the server does with mail, and when it answers QUIT."""

    async def handle_DATA(
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Reply to a message with its size."""
        assert envelope.content is not None
        return f"250 received {len(envelope.content)} bytes"

    async def handle_QUIT(
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Wait as many seconds as the client's name says, then reply to QUIT."""
        asked = re.fullmatch(r"slow(\d+)", session.host_name or "")
        await asyncio.sleep(int(asked[1]) if asked else 0)
        return "221 Bye"


async def main(certificate: str, largest: int, port: int, plain: int) -> None:
    """Serve until the process is ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()

    def protocol(tls: ssl.SSLContext | None) -> SMTP:
        return SMTP(
            Handler(),
            tls_context=tls,
            data_size_limit=largest,
            hostname="mail.example.test",
            loop=loop,
        )

    await loop.create_server(lambda: protocol(context), HOST, port)
    await loop.create_server(lambda: protocol(None), HOST, plain)
    await loop.create_future()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:])))
