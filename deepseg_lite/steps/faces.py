"""Names of a box's faces; nothing heavy is imported for them."""

FACES = ("xmin", "xmax", "ymin", "ymax", "zmin", "zmax")
"""Axes of the volume as stored, lowest and highest voxel inside."""
