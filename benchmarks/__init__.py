"""Benchmarks of the command and of its endpoints."""
