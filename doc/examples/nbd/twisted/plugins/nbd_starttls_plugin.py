"""Tells twisted_tcpclient where its dialect "nbd" is."""

from twisted_tcpclient.plugin import DialectPlugin

nbd = DialectPlugin("nbd", "nbd_starttls")
