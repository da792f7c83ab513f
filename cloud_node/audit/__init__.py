"""Looks for users' text where none may be: the proof that nodes keep no state.

`lanai audit canary` sends marked requests through a running cluster and then searches every surface
for the marks: files, shared memory, the store, Ray, and the memory of every process. Trusts the
kernel's view of its processes (``/proc``) and nothing that a part of the cluster says of itself.

Refuses to call a surface clean that it could not read, and to call anything clean when its positive
control, a live worker and a live engine, shows no mark.

Not searched, since nobody can read it from here: the kernel's own memory (socket and pipe buffers,
freed pages, swapped pages of ended processes), devices' memory, compressed or encrypted forms.
"""
