"""Tests of encryption and password records."""
