"""Users who look for a game: what they look for, their searches, and who has matches made."""
