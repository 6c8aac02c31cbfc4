"""Starts, watches and restarts what runs on this host: nats-server, the pages, the agents."""
