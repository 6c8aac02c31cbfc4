"""Pulls replicas, evolves, checkpoints, answers. Publishes nothing in EVENTS."""
