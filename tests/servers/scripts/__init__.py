"""Servers that are programs of our own, run by the modules above."""
