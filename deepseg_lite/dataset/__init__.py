"""Datasets: many images, from a folder to results, in one process, in several or on a cluster.

The images of a BIDS data set, a folder, a pattern or a list are made into cases; each case and task
into a job; what the jobs leave, records beside results, is all the state there is.
"""
