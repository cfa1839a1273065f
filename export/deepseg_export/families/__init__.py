"""Checkpoint families: a package or module for each training framework.

`table` has a row for each kind of model; `checkpoint`, `options` and `problems` are shared.
"""
