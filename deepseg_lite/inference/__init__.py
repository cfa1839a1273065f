"""Inference: one volume to its labels.

The pipeline, the sliding window and the decoding. Arrays and callables only: no files, no engines.
"""
