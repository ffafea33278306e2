"""Tests of save files and key files."""
