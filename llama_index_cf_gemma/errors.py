"""The one error that this adapter adds to the tree of `cf_gemma.errors`."""

from cf_gemma.errors import GemmaError


class InvalidOutput(GemmaError, ValueError):
    """The answer is not what was asked for: JSON that is cut off or doesn't fit the schema, unusable tool arguments.

    `.partial` holds the answer.
    """
