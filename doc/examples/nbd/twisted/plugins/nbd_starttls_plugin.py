"""The plugin that announces the dialect "nbd"."""

from twisted_tcpclient.plugin import DialectPlugin

nbd = DialectPlugin("nbd", "nbd_starttls")
