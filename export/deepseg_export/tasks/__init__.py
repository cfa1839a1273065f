"""Tasks: official releases, downloaded, pinned and exported by name."""
