"""The mirror: keeps a replica of an image service (Glance v2), and applies changes there first."""
