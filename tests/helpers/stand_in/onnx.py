"""Stands for a package that is only looked for."""
