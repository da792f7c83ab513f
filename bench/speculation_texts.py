"""Prompts of the bench of speculation: texts made up for it, what is asked of them, and chat."""

from typing import Final

__all__ = ["CHAT", "COPYING"]

TEXTS: Final = (
    "The libary of Aldersey will be closed from Monday the 3rd of March untill Friday the 14th. "
    "During that time the roof is repared and the heating replaced. Books that are due in these "
    "two weeks can be returned one week later without a fee. The reading room in the town hall "
    "stays open every day from nine to five, and the bookbus comes to the market square on "
    "Wednesdays and Saturdays. For questions call Mrs Hartley at 555 0172.",
    "Hi team, the visit of the inspectors has been moved to Thursday at ten. Please make sure that "
    "the workshop is clean by Wednesday evening, that the fire doors are not blocked, and that "
    "everybody knows where the first aid box is. Jonas will show them the new press, and Miriam "
    "has the papers of the last three years. Lunch is at half past twelve in the small canteen. If "
    "you cannot be there, tell me before Tuesday noon so that I can find somebody else.",
    "Our trip to the lake began badly. The train from Norwick was fourty minutes late, and when we "
    "arived the last boat to the island had gone. We walked along the shore to the village, where "
    "an old fisherman named Piet offered to take us across for twelve euros. The water was calm "
    "and green, and a heron stood on every second post. On the island we found the hut unlocked, "
    "the stove cold and a note from the owner on the table: there was soup in the cellar.",
    "To reset the heating controller, press and hold the round button for ten seconds until the "
    "display goes dark. Wait until the green light blinks three times, then enter the service code "
    "4471 and confirm it with the round button. The controller now looks for its sensors, which "
    "takes about five minutes. If the red light comes on, one of the sensors has no battery; open "
    "its case, put in a new battery of the type CR2032 and begin again from the start.",
)
ASKED: Final = (
    "Correct the spelling of the following text. Give the whole corrected text and nothing else."
    "\n\n{text}",
    "Repeat the following text word by word, and put a title above it.\n\n{text}",
    "Rewrite the following text so that it is a little more formal. Keep as many of its words as "
    "you can.\n\n{text}",
    "{text}\n\nList the sentences of this text that state a time, a number or a name. Copy them "
    "exactly.",
)
COPYING: Final = tuple(asked.format(text=text) for text in TEXTS for asked in ASKED)

CHAT: Final = (
    "What is a good way to learn to swim as a grown-up?",
    "Tell me a short story about a lighthouse keeper and a whale.",
    "Why is the sky blue, and why is it red in the evening?",
    "Give me five ideas for a birthday present for my grandfather.",
    "How do I cook rice without burning it?",
    "What is the difference between a virus and a bacterium?",
    "Write a poem about the first snow.",
    "I cannot sleep before exams. What can I do?",
    "Explain what a hash function is to a child.",
    "Which plants grow well in a dark flat?",
    "What should I see in Vienna in two days?",
    "Is it better to run in the morning or in the evening?",
)
