"""Which images can this project use? The OpenStack Compute v2 answer, from a SQLite catalog."""
