"""The process tree of a node: who may hold what, kept apart by the kernel.

    front ──▶ keyholder ──▶ zygote ──▶ engine
                              └─ one worker per request

The front sees ciphertext, the keyholder keys, a worker one request's text, the engine its token
ids. They are processes of their own, tied to the launcher that started them, and what passes
between them are messages with descriptors (`doors`): each request has sockets of its own, from the
front to its worker and from there to the engine. So there is no table of requests anywhere, and
whoever ends takes down what hung on it, and nothing else.
"""
