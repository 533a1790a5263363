"""OPRO: a writer sees the best prompts so far with their scores, and writes a better one."""
