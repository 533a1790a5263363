"""What remains of a run: settings, log, held-out evaluation, screen."""
