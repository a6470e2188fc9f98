"""`Gemma` and `AsyncGemma`, the budget of their calls, and the fields that a framework's model has of them."""
