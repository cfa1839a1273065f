"""Kit: a folder that brings this program and its models to a computer without a network.

It has wheels, bundles, the SHA-256 of every file, and a script that needs nothing but Python::

    KIT/
      install.py   checks everything, makes an environment, installs
      kit.json     what it is for: Python, system, requirement, bundles with their hashes
      SHA256SUMS   of every other file
      wheels/  bundles/NAME/  README.md
"""
