"""Servers that tests start for themselves, on loopback and free ports, gone when the test ends."""
