"""What methods share that train a model to write prompts: its settings, the policy, training."""
