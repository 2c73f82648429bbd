"""The control plane: API, console, telemetry; the only process that opens the telemetry store and writes SQL."""
