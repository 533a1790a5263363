"""What a prompt is worth, and what it costs to know."""
