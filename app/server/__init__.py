"""The gunicorn server, its workers and their HTTP/1.1 protocol."""
