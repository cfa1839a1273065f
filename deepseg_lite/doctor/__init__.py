"""Doctor: what a bug report needs of this machine, and what is wrong on it.

A check is a small function that yields findings about one subject. Whatever a check does, an
examination goes on: one that fails is itself a finding. Libraries are loaded in processes of their
own, so that one that is broken ends nothing.
"""
