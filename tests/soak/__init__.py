"""The soak: random plugins, random faults, and a model that knows what must have come out."""
