"""Where telemetry rests: segments, the receiver, the rollup, the state."""
