"""A small model learns to write a prompt for each question, from answers under several prompts."""
