"""Helpers of the tests: small models, images, servers and the original software."""
