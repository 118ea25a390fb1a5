"""
Tells ``twist`` of tcpclient.
"""

from twisted.application.service import ServiceMaker

tcpclient = ServiceMaker(
    "twisted_tcpclient",
    "twisted_tcpclient.service",
    "A UCSPI client: TCP, TLS, STARTTLS and UNIX sockets.",
    "tcpclient",
)
