"""What keeps a server's users safe: who may do what, who is banned, and what was done."""
