"""What a bundle holds, as entries: read from a tar or a directory within bounds, and written by descriptor."""
