"""The recipe of the chat adapter of Gemma-3-270M: what it learns from, how it is judged.

    python -m bench.instruction data LESSONS           # from a folder of public sets, JSONL
    python -m bench.instruction train LESSONS ADAPTER  # about an hour
    python -m bench.instruction judge MODEL MARKS --adapter ADAPTER
    python -m bench.instruction table DEVICE BEFORE AFTER

Sets under share-alike licences (ARC, BoolQ) and SVAMP are judged and never learned from; every
other set is cut in two by a hash of the question. The texts stay where they are: nothing made here
but figures is kept in the repository: what came of it, and why the adapter is not shipped, stands
in ``docs/training.md``.
"""
