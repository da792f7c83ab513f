// Compiled with this instruction set's flags where the processor family has it, empty elsewhere.
#include "kernels.h"

#ifdef __AVX2__
#include "isa_avx2.h"

namespace {
using T = Avx2;
}

#include "entry.h"

const lanai_kernels *lanai_kernels_avx2() { return &KERNELS; }
#else
const lanai_kernels *lanai_kernels_avx2() { return nullptr; }
#endif
