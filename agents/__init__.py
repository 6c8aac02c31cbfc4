"""One package per agent. An agent never imports another one: they speak through the bus."""
