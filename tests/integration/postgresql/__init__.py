"""Several machines that serve one catalog in PostgreSQL."""
