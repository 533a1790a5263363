"""GEPA: a writer reflects on the mistakes of prompts that are each the best on some questions."""
