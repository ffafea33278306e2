"""Tests of games at their tables."""
