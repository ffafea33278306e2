"""Tests of both protocols, without a socket."""
