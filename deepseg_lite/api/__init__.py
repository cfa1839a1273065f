"""API: the functions and classes that programs call.

A model is loaded, and called with images or files. No other package reads or writes images.
"""
