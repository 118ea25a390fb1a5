"""The relay: bytes between a connection and two descriptors."""
