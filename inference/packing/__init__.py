"""Making packed models: the codec, the quantizer, the allocation of bits, and the file.

The codec (``codec``) says which numbers bytes stand for and nothing else; the quantizer decides
which numbers to write. Reading a packed model is in ``inference.formats.packed``.
"""
