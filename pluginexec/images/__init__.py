"""Images: names, pull and load, their configuration, and root file systems made of them."""
