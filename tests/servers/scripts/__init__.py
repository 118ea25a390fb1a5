"""Server programs of the tests, run by the modules of `tests.servers`."""
