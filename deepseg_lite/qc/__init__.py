"""Quality control: pictures of results, measures of their shape, and a verdict by rules."""
