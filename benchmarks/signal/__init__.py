"""What predicts the effect of an edit of a prompt? See docs/signal.md.

``edits`` proposes, ``measure`` runs the model, ``record`` keeps one position in one file. The rest
is arithmetic: ``truth`` for what an edit does under fresh reasonings and how reliably that is
known, ``signals`` for what would have predicted it, ``correlations`` for how well.
"""
