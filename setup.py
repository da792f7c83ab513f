"""Compiles the kernels with the system's compiler; everything else is in pyproject.toml.

The extension is optional: without a compiler the package installs all the same, and packed models
run in torch. Each instruction set is a source file with flags of its own; which one runs is chosen
on the machine it runs on.
"""

import platform
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

NATIVE = Path("inference/kernels/native")
FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fno-signed-zeros",
    "-fassociative-math",
    "-fvisibility=hidden",
    "-Wall",
    "-Wextra",
    "-Wno-uninitialized",  # GCC 12 warns inside its own headers of intrinsics
    "-Wno-maybe-uninitialized",
]
AVX2 = ["-mavx2", "-mfma"]
AVX512 = [f"-mavx512{part}" for part in ("f", "bw", "dq", "vl", "vnni", "vbmi")]
# The compiler vectorizes the portable code, and would order its sums by how many rows there are:
# guessed tokens could not be checked then.
IN_ORDER = ["-fno-associative-math", "-ffp-contract=off"]
INTEL = {
    "kernels_avx2.cpp": AVX2,
    "kernels_avx512.cpp": [*AVX512, "-mfma", "-mprefer-vector-width=512"],
}
ARM = {"kernels_neon.cpp": ["-march=armv8.2-a+dotprod"]}
EXTRA = {"kernels_portable.cpp": IN_ORDER}
if platform.machine() in ("x86_64", "AMD64"):
    EXTRA |= INTEL
elif platform.machine() in ("aarch64", "arm64"):
    EXTRA |= ARM


class BuildKernels(build_ext):
    """``build_ext`` with flags by source file."""

    def build_extension(self, ext: Extension) -> None:
        compile_one = self.compiler._compile  # the hook setuptools has for a single file

        def compile_with_flags(obj, src, ext_, cc_args, extra_postargs, pp_opts):  # type: ignore[no-untyped-def]
            extra = EXTRA.get(Path(src).name, [])
            compile_one(obj, src, ext_, cc_args, [*extra_postargs, *extra], pp_opts)

        self.compiler._compile = compile_with_flags
        try:
            super().build_extension(ext)
        finally:
            self.compiler._compile = compile_one


setup(
    cmdclass={"build_ext": BuildKernels},
    ext_modules=[
        Extension(
            "inference.kernels._native",
            sources=sorted(str(path) for path in NATIVE.glob("*.cpp")),
            depends=sorted(str(path) for path in NATIVE.glob("*.h")),
            extra_compile_args=FLAGS,
            extra_link_args=["-pthread"],
            language="c++",
            optional=True,
        )
    ],
)
