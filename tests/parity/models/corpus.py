"""A small text of customer support, which the vocabularies are trained on."""

ORDERS = ["lamp", "kettle", "jacket", "router", "keyboard", "desk chair", "coffee grinder", "rain coat"]
OPENINGS = [
    "Hello, I ordered a {item} last week and it has not arrived yet.",
    "Hi! The {item} came today, but the box was open and a part is missing.",
    "Good morning. Could you tell me where my order of the {item} is?",
    "I would like to return the {item}, because it doesn't work with my old one.",
    "My card was charged twice for the {item}. Can I have a refund, please?",
    "Is there a warranty on the {item}? It stopped working after three weeks.",
]
ANSWERS = [
    "I'm sorry to hear that. Could you give me the number of your order, so that I can look up the {item}?",
    "Thank you for waiting. The {item} left our warehouse on Tuesday and should be with you within two days.",
    "Of course. We will send you a new {item} today, and you do not need to return the first one.",
    "You can return the {item} within thirty days. I have sent the label to your e-mail address.",
    "The refund for the {item} is on its way: it takes from three to five working days.",
    "Let me check this for you. The status of your order is: shipped, and the {item} is on the truck.",
]
REST = """What's the name on the account? It's under support@example.com, and the number is 4071.
{"name": "get_order", "arguments": {"order_id": "A-1042"}}
You are a helpful assistant for the customers of a small shop. Answer in one or two sentences.
The total was $59.90 (shipping: $4.50), paid on 12 March 2025; the discount of 10% wasn't applied.
Please don't close the ticket; I'm still waiting for an answer! We're open from 9:00 to 17:30.
Is that all right? Yes, thank you very much. Have a nice day!
"""


def lines():
    """The text, a line at a time."""
    spoken = [line.format(item=item) for item in ORDERS for line in OPENINGS + ANSWERS]
    return spoken + REST.splitlines() * 4
