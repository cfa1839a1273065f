"""Workflows: the work that some models need around their networks, a package for each.

They see arrays and callables only, as inference does.
"""
