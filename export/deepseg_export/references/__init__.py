"""Reference cases of a bundle: images, and what the original software makes of them.

``deepseg-lite verify`` runs them on any machine. Labels never come from the runtime.
"""
