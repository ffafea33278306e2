"""Servers that look like one, whose processes, lines and database fail at random under load."""
