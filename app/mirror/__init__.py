"""The mirror: a replica of an image service (Glance v2), and changes that are made there first."""
