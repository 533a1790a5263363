"""Prompts that a writer writes, as in OPRO, APE or GEPA, raced with edits of the best one."""
