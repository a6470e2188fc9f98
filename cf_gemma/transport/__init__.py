"""The network: one way to call, and the shells that move the bytes: over HTTP, and through a Worker's binding."""
