"""SPO: a writer changes the prompt, a judge compares the answers; no right answer is needed."""
