"""Robust: labels for inputs of another group by a vote, then prompts that are good on both."""
