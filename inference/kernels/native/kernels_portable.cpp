#include "isa_portable.h"

namespace {
using T = Portable;
}

#include "entry.h"

const lanai_kernels *lanai_kernels_portable() { return &KERNELS; }
