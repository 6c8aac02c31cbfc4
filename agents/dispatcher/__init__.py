"""Campaigns -> units -> replicas; keeps WORK complete, closes campaigns."""
