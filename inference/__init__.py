"""The language-model runtime: catalog, formats, tokenizer and chat template, engine.

Trusts the model files only after their SHA-256 matched, and the operating system. Token ids and
text are user content here: they are never logged, and errors never carry them.
Refuses pickles, files that lie about their sizes, and architectures it does not build.

The engine runs in a child process of its own. Importing this package imports no torch.
"""
