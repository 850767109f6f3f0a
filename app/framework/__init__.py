"""Adapters that bend Connexion and Flask to the contract."""
