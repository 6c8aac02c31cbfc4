"""Seals over the event log: Merkle tree, signed checkpoints, proofs, and the verification of a log against them."""
