"""Tests of the package as a whole: layers, errors, documentation, examples."""
