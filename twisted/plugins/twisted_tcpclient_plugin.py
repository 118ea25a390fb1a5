"""
The plugins of this package: ``twist tcpclient``, and the endpoint strings.
"""

from twisted.application.service import ServiceMaker

from twisted_tcpclient.strings import STARTTLSParser, TCPClientParser, UCSPIParser

tcpclient = ServiceMaker(
    "twisted_tcpclient",
    "twisted_tcpclient.command.service",
    "A UCSPI client: TCP, TLS, STARTTLS and UNIX sockets.",
    "tcpclient",
)
starttls_strings = STARTTLSParser()
tcpclient_strings = TCPClientParser()
ucspi_strings = UCSPIParser()
