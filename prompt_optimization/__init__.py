"""Prompt optimisation for open causal language models."""
