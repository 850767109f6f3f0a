"""The images API of OpenStack Compute v2, served from a catalog."""
