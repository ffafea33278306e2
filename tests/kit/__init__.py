"""What tests share: servers, protocol pairs, transports, a proxy, subprocesses, and tasks."""
