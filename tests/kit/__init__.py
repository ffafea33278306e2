"""What tests share: servers, protocol pairs, transports, a proxy, and subprocesses."""
