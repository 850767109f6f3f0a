"""Authentication: who sends a request, and how that is validated."""
