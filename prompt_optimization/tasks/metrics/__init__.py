"""What a written answer is worth, between 0 and 1: metrics by name, and the user's own.

``metric`` says what one is, and ``registry`` which there are. ``stated`` reads the one thing that
a text states: an option, a number, a match, a field of JSON. ``overlap`` counts the words that two
texts share, ``mathematics`` compares expressions.
"""
