"""GReaTer: gradients over reasoning. The steps are in propose, differentiate, select, search."""
