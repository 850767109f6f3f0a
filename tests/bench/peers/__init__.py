"""Other servers for the same requests, written as their documentation recommends."""
