"""TextGrad: a writer criticises answers, then the prompt, and updates it by this feedback."""
