"""Who answers: loading, layouts, caches and the inference engine. Knows no optimizer."""
