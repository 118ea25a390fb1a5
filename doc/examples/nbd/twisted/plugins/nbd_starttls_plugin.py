"""The drop-in that announces the dialect "nbd" to twisted_tcpclient."""

from twisted_tcpclient.plugin import DialectPlugin

nbd = DialectPlugin("nbd", "nbd_starttls")
