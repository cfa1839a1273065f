"""Engines: the libraries that compute networks on a device.

ONNX Runtime and OpenVINO, each imported by one module of this package and by nothing else.
"""
