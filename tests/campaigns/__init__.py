"""Campaigns: commands that are killed, or that run at once, many times; see README.md."""
