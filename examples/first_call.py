"""The first call: a question, the answer, what it cost, and a second question about the first."""

from cf_gemma import Completion, Gemma


def show(completion: Completion) -> None:
    """An answer and its price."""
    print(completion.text)
    if completion.usage:
        print(f"  {completion.usage.total_tokens} tokens, ${completion.usage.cost:.6f}")


# The account and the token come from the environment. Leaving the block closes the connection.
with Gemma(temperature=0) as gemma:
    messages = [{"role": "user", "content": "Why is the sky blue? Answer in one sentence."}]
    answer = gemma.chat(messages)
    show(answer)

    # The model remembers nothing: each call sends the whole conversation.
    messages += [answer.message, {"role": "user", "content": "And why is it red in the evening?"}]
    show(gemma.chat(messages))
