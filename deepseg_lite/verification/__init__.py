"""Verification: whether this machine gives the result of the original software.

The reference cases of a bundle are run, the voxels that differ are counted, and a receipt says so
with everything that the figures depend on.
"""
