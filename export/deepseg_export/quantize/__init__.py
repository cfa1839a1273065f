"""Quantization: variants of a bundle's networks in int8 and half precision."""
