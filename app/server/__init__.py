"""gunicorn, its worker, and HTTP/1.1."""
