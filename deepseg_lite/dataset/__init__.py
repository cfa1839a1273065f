"""Datasets: many images, from a folder to results, in one process, in several or on a cluster."""
