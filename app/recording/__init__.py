"""Recording: reads all images of a cloud at once."""
