"""Writing: the bundle's files and its model card."""
