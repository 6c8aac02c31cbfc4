"""Read models: what people see, derived from the event log alone, in one SQLite file with one position.

`schema` says what a read model is, one file each holds one, `store` applies events, `queries` reads, `replay` builds anew.
"""
