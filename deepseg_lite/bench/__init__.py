"""Measuring models on this machine: what takes how long, and how much memory."""
