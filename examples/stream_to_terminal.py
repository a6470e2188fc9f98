"""An answer in the terminal while it is written: the reasoning is dim, Ctrl-C ends it."""

from cf_gemma import Completion, Gemma, GemmaError, ReasoningDelta, TextDelta

DIM, PLAIN = "\033[2m", "\033[0m"

with Gemma() as gemma:
    try:
        for item in gemma.stream("What is 17 times 24? Show how you get there."):
            match item:
                case ReasoningDelta():
                    print(f"{DIM}{item.text}{PLAIN}", end="", flush=True)
                case TextDelta():
                    print(item.text, end="", flush=True)
                case Completion():  # the last item: the whole answer once more, with its usage
                    print(f"\n{DIM}finish reason: {item.finish_reason}{PLAIN}")
                case _:  # pieces of tool calls, and there are no tools here
                    pass
    except KeyboardInterrupt:  # leaving the loop closes the connection, and the model stops
        print(f"{PLAIN}\nStopped.")
    except GemmaError as error:  # what was printed before stays printed, but is no whole answer
        print(f"\nThe answer broke off: {error}")
