"""Plan: the patches, seconds, memory and disk of a run, predicted from headers."""
