"""Tests of the server: accounts, sessions, limits, hostile peers."""
