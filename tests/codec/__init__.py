"""Tests of values, messages and patches."""
