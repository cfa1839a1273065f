"""The form in rows: 2-D networks rewritten for ONNX Runtime's CPU provider.

Maps and the network's input and output stay as they are, (N, C, H, W). Only convolutions are
computed otherwise: along rows by Winograd's minimal filtering, made of convolutions that ONNX
Runtime computes in blocked kernels one after the other, without leaving their order of values.
"""
