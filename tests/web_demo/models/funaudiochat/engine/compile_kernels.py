"""Compiles every kernel of `kernels_triton` for a GPU that need not be there, with the sizes of the 8B checkpoint.

    python3 -m tests.web_demo.models.funaudiochat.engine.compile_kernels 80

In a process of its own, because Triton's interpreter (for the other tests) is chosen at its import. The argument is the
compute capability without its point. Prints a line a kernel; exits 1 when one does not compile.
"""

# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call"

from __future__ import annotations

import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompilationError

from web_demo.models.funaudiochat.engine import kernels_triton as kernels

HIDDEN, DIM, KV_HEADS = "*bf16", 128, 8
BACKBONE_HEADS, CRQ_HEADS = 32, 16


def variants() -> list[tuple[Any, dict[str, str], dict[str, Any], dict[str, int]]]:
    """Kernel, types of its arguments, its constants, options."""
    norm = dict.fromkeys(("x", "residual", "weight", "out", "total"), HIDDEN) | {"width": "i32", "eps": "fp32"}
    heads = dict.fromkeys(("qkv", "q_norm", "k_norm", "q_out", "keys", "values"), HIDDEN) | {
        "rope": "*fp32", "position": "*i64", "target": "*i64", "eps": "fp32",
    }  # fmt: skip
    attend = dict.fromkeys(("q", "keys", "values"), HIDDEN) | {
        "blocks": "*i64", "position": "*i64", "parts": "*fp32", "weights": "*fp32", "block_stride": "i32",
        "page_size": "i32", "scale": "fp32",
    }  # fmt: skip
    choose = dict.fromkeys(("scores", "temperature", "top_p", "uniform"), "*fp32") | {
        "top_k": "*i64", "out": "*i64", "width": "i32", "scores_stride": "i32",
    }  # fmt: skip
    linear = {"x": HIDDEN, "values": "*u8", "scale": "*fp32", "out": HIDDEN} | dict.fromkeys(
        ("rows", "width", "outputs"), "i32"
    )
    found: list[tuple[Any, dict[str, str], dict[str, Any], dict[str, int]]] = [
        (kernels._combine_kernel, {"parts": "*fp32", "weights": "*fp32", "out": HIDDEN}, {"DIM": DIM, "SPLITS": 8}, {}),
        (kernels._gated_kernel, {"gate_up": HIDDEN, "out": HIDDEN, "width": "i32"}, {"BLOCK": 1024}, {}),
        (kernels._choose_kernel, choose, {"BLOCK": 8192, "BITS": 30}, {"num_warps": 8}),
        (kernels._add_norm_kernel, norm, {"HAS_RESIDUAL": True, "BLOCK": 4096}, {}),
        (kernels._add_norm_kernel, norm, {"HAS_RESIDUAL": False, "residual": None, "BLOCK": 1024}, {}),
    ]
    for count in (BACKBONE_HEADS, CRQ_HEADS):
        sizes = {"HEADS": count, "KV_HEADS": KV_HEADS, "DIM": DIM}
        found.append((kernels._place_heads_kernel, heads, sizes, {}))
        found.append((kernels._attend_kernel, attend, sizes | {"ROWS": 16, "BLOCK": 64, "SPLITS": 8}, {}))
    for rows in (16, 64):
        found.append(
            (kernels._linear8_kernel, linear, {"ROWS": rows, "BLOCK_OUT": 32, "BLOCK_IN": 256}, {"num_stages": 4})
        )
    return found


def main(capability: int) -> int:
    failed = 0
    for kernel, types, constants, options in variants():
        signature = {name: "constexpr" if name in constants else types[name] for name in kernel.arg_names}
        aligned = [[index] for index, name in enumerate(kernel.arg_names) if signature[name].startswith("*")]
        source = ASTSource(
            fn=kernel,
            signature=signature,
            constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
            attrs={tuple(index): [["tt.divisibility", 16]] for index in aligned},
        )
        try:
            compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
            print(f"ok   {kernel.__name__} {constants} shared memory {compiled.metadata.shared}")
        except (CompilationError, RuntimeError) as error:
            failed += 1
            print(f"FAIL {kernel.__name__} {constants}: {error}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
