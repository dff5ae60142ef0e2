"""Streams, mailboxes, the scheduler and lanes. Knows neither gRPC nor tensors."""
