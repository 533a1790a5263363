"""PE2: a writer examines wrong answers one by one, and edits the best prompts so far."""
