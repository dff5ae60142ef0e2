"""The Framewire server: finds objects in frames that clients stream over gRPC."""
