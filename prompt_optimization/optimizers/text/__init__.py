"""What the methods share that ask a writer for whole prompts. Not a method itself."""
