"""Attacks on our own server, over loopback: `python -m tests.attacks`."""
