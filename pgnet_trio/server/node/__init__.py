"""A server as a node of its cluster: its games and sessions, as the others know them."""
