"""Campaigns: bad inputs by the hundred; commands killed, or run at once; see README.md."""
