// Compiled with this instruction set's flags where the processor family has it, empty elsewhere.
#include "kernels.h"

#ifdef __ARM_FEATURE_DOTPROD
#include "isa_neon.h"

namespace {
using T = Neon;
}

#include "entry.h"

const lanai_kernels *lanai_kernels_neon() { return &KERNELS; }
#else
const lanai_kernels *lanai_kernels_neon() { return nullptr; }
#endif
