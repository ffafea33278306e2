"""Long runs, and their short forms in the suite."""
