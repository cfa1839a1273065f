"""Performance: the time and memory of runs on this machine.

`plan` predicts them, `bench` measures them.
"""
