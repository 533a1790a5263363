"""A run's prompt in the formats of other tools, one module a tool."""
