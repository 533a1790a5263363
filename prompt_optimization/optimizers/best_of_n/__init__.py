"""The plainest method: given prompts are raced on the training examples, and the best is kept."""
