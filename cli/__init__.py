"""The `sluice` command: thin commands over the bus, the read models and the kernels."""
