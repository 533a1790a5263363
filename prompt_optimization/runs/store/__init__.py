"""What lasts of a run: its log, where it stands, who works on it, and whether it may continue."""
