"""APE: a writer guesses the instruction from questions and answers, then varies the best."""
