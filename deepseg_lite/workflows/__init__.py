"""Workflows: the work that some models need around their networks.

A package for each. Arrays and callables only, as in inference.
"""
