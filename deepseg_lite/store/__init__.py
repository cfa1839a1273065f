"""Store: the places where models are, and the ways they get to this machine.

Folders, the local cache, the wheel, mirrors and the Hugging Face Hub. No other package uses the
network.
"""
