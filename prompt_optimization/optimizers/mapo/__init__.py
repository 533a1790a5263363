"""A small model learns to rewrite prompts for one model, from races between paraphrases."""
