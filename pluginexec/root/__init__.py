"""The root and the state directory: where everything in them lies, their locks, and the files of each plugin."""
