"""From a worker thread to the client: `job` runs a generator in a thread, `answer` sends what it yields."""
