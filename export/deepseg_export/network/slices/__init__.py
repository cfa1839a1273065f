"""The form in slices: 3-D networks rewritten for ONNX Runtime's CPU provider.

Maps are lists of chunks of slices, (slices, channels, height, width) each. So convolutions are
two-dimensional ones with slices as the batch, which ONNX Runtime computes in blocked kernels; along
depth they are products with small matrices: Winograd's minimal filtering, or taps one by one.
"""
