"""Prompts that a writer writes, as in OPRO, raced with edits of the best one by a few tokens."""
