"""The service's asynchronous queue: many requests handed over at once, answered when there is room."""
