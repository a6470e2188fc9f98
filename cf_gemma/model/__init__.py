"""The model: facts about it, what it says (deltas and completions), and the JSON that it is said in. Pure."""
