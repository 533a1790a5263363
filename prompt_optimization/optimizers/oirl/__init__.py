"""A prompt for each question, chosen by what is known of answers under several prompts."""
