"""Three docker managed plugins, and what makes their bundles: a volume, a log and an authorization plugin.

``bundles.py`` runs in the tests; the other files run in the plugins, on the host's Python without its site packages,
and import little: so a plugin answers some 20 ms after it was started.
"""
