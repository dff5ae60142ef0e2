"""Pictures and boxes: decoding, geometry, suppression. Knows neither models nor gRPC."""
