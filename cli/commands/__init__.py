"""One module per group of commands; each has `add(subparsers)` and functions that take the parsed arguments."""
