"""Bundles: models as data.

A bundle is a folder of ONNX files and a manifest that says all that inference needs. Manifests,
task files and their schemas are read and checked here, and become frozen values. Nothing here
computes.
"""
