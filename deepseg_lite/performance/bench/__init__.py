"""Benchmark: the seconds, memory and rates of a run, measured."""
