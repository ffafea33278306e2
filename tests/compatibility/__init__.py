"""Clients and servers of older releases against those of this tree, both ways."""
