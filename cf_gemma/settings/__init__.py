"""Where requests go and in whose name: checked settings, the headers they make, the gateway, what looks like a secret.

Pure.
"""
