"""RLPrompt: a small network on a frozen language model learns by reinforcement to write prompts."""
