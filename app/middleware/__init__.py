"""ASGI middleware around Connexion."""
