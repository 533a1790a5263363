"""How the prompt changes; one folder a method. Knows no file."""
