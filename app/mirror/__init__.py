"""The mirror: it copies what an image service (Glance v2) has into the catalog, and changes images there first."""
