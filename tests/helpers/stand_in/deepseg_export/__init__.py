"""Stands for the exporter where neither torch nor onnx is: it downloads bundles ready-made."""
