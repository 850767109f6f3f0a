"""The catalog: images, their owners, and the projects that may see them."""
