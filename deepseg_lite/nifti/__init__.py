"""NIfTI: files become headers, geometry in mm and voxels; results become files.

A module here reads or writes image files, or says what is wrong with one. Nothing else does.
"""
