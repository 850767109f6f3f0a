"""The OpenAPI document, loaded and compiled once."""
