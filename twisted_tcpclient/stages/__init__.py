"""Stages: endpoints that hold a connection until it may be used."""
