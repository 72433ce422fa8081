"""The bytes that plugins print: FIFOs, loggers, relays, sinks."""
