"""The tests of pgnet_trio."""
