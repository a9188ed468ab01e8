"""The OpenTelemetry protocol: messages become columns."""
