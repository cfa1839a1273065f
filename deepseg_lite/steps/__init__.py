"""Steps: the pure functions on volumes and maps that a manifest may name.

A step that moves voxels also returns the record that undoes it. Nothing here knows of files,
networks or tasks; `table` has the names.
"""
