"""Reading: files of strangers, opened without trusting them."""
