"""Others that answer the same requests, written as their own documentation would have it."""
