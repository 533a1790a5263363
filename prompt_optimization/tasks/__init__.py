"""What is asked: examples, splits, answer checks, generated tasks. Knows no model."""
