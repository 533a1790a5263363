"""The control of GReaTer: its proposals, of which some are drawn without asking the gradient."""
