"""The auditor: seals the event log, inside and outside NATS, and halts when the log is not what was sealed."""
