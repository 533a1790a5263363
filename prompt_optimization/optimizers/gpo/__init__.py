"""GPO: a writer refines prompts along their trajectory, by ever fewer words a step."""
