"""APO (ProTeGi): a writer criticises prompts for what they got wrong, and edits them."""
