"""The event log and all that speaks to NATS: envelope, events, subjects, streams, client, runtime, embedded server."""
