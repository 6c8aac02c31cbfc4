"""The projector: keeps the read models in step with the event log."""
