"""EvoPrompt: a population of prompts evolves, and a writer crosses and mutates them."""
