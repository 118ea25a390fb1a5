"""Benchmarks of the command and of the endpoints, beside other programs."""
