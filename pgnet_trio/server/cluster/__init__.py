"""What the servers of a cluster share, in one engine: who owns which room, accounts, saves, mail.

`docs/design/cluster-engine.md` says what an engine promises, and why.
"""
