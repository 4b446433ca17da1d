"""Compiles every Triton kernel for a GPU that need not be there, with the sizes of the 8B checkpoint and with those of the
tests' tiny one.

    python3 -m tests.web_demo.models.runtime.kernels.compile_kernels 80

In a process of its own, because Triton's interpreter (for the other tests) is chosen at its import. The argument is the
compute capability without its point. Prints a line a kernel; exits 1 when one does not compile, or takes more shared memory
than a GPU of that kind has.
"""

# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call"

from __future__ import annotations

import sys
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompilationError

from web_demo.models.cosyvoice3.flow import fused as flow
from web_demo.models.cosyvoice3.vocoder import fused as vocoder
from web_demo.models.funaudiochat.engine.prefill import RUN_TOKENS
from web_demo.models.runtime.kernels import attend as triton_attend
from web_demo.models.runtime.kernels import attend_prompt, fused
from web_demo.models.runtime.kernels import linear as triton_linear
from web_demo.models.runtime.kernels import sample as triton_sample

HIDDEN = "*bf16"
# Query heads, heads of keys and values, their size, and whether heads are normalised; the last is CosyVoice3's LM.
BACKBONE, CRQ, TINY, SPOKEN = (32, 8, 128, True), (16, 8, 128, True), (4, 2, 16, True), (14, 2, 64, False)


# Input and output width of products of a layer of the backbone, and of one of the speech head, and what is done with them.
_QKV = {"NORM": True, "GATED": False, "ADD": False, "BIAS": False}
_BIASED = _QKV | {"BIAS": True}
_GATED = _QKV | {"GATED": True}
_ADD = _QKV | {"NORM": False, "ADD": True}
_ALONE = _QKV | {"NORM": False}
LAYER = ((4096, 6144, _QKV), (4096, 12288, _GATED), (12288, 4096, _ADD), (3072, 1024, _ADD), (896, 1152, _BIASED))
# Bytes of shared memory that one program may take, by compute capability: what is compiled for 8.0 runs on 8.6 too.
SHARED_MEMORY = {80: (163 << 10, 99 << 10), 90: (227 << 10,)}


Variant = tuple[
    Any, dict[str, str], dict[str, Any], dict[str, int]
]  # kernel, types of its arguments, its constants, options


def variants(capability: int) -> tuple[list[Variant], dict[int, list[Variant]]]:
    """Of every GPU of this capability; and those whose sizes follow the shared memory, by that."""
    norm = dict.fromkeys(("x", "residual", "weight", "out", "total"), HIDDEN) | {"width": "i32", "eps": "fp32"}
    heads = dict.fromkeys(("qkv", "q_norm", "k_norm", "q_out", "keys", "values"), HIDDEN) | {
        "rope": "*fp32", "position": "*i64", "target": "*i64", "eps": "fp32",
    }  # fmt: skip
    attend = dict.fromkeys(("qkv", "q_gain", "k_gain", "keys", "values", "out"), HIDDEN) | {
        "rope": "*fp32", "block_table": "*i64", "position": "*i64", "parts": "*fp32", "weights": "*fp32", "arrived": "*i32",
        "block_stride": "i32", "page_size": "i32", "scale": "fp32", "eps": "fp32",
    }  # fmt: skip
    prompts = dict.fromkeys(("q", "keys", "values", "out"), HIDDEN) | {
        "block_tables": "*i64", "runs": "*i64", "table_stride": "i32", "page_size": "i32", "scale": "fp32",
    }  # fmt: skip
    sampled = dict.fromkeys(("scores", "temperature", "top_p", "uniform"), "*fp32") | {
        "top_k": "*i64", "out": "*i64", "width": "i32", "scores_stride": "i32",
    }  # fmt: skip
    one_row = dict.fromkeys(("x", "gain", "residual", "out"), HIDDEN) | {
        "scale": "*fp32", "bias": HIDDEN, "width": "i32", "outputs": "i32", "eps": "fp32",
    }  # fmt: skip
    some_rows = one_row | {
        "scaled": HIDDEN, "squares": "*fp32", "squares_out": "*fp32", "rows": "i32", "parts": "i32",
    }  # fmt: skip
    wide = sampled | dict.fromkeys(("best", "before", "sums", "totals", "mass"), "*fp32") | {
        "floors": "*i32", "floor_out": "*i32", "last": "*i32",
    }  # fmt: skip
    blocks = {"BLOCK": triton_sample.BLOCK, "BLOCKS": 128}
    found: list[Variant] = [
        (fused._gated_kernel, {"gate_up": HIDDEN, "out": HIDDEN, "width": "i32"}, {"BLOCK": 1024}, {}),
        (triton_sample._narrow_kernel, sampled, {"BLOCK": triton_sample.NARROW, "BITS": 30}, {"num_warps": 8}),
        (triton_sample._wide_best_kernel, sampled | {"best": "*fp32"}, {"BLOCK": triton_sample.BLOCK}, {}),
        (triton_sample._wide_mass_kernel, wide, {"PASSES": 6, "DIGIT_BITS": 5} | blocks, {}),
        (triton_sample._wide_draw_kernel, wide | {"floor": "*i32", "blocks": "i32"}, blocks, {}),
        (fused._add_norm_kernel, norm, {"HAS_RESIDUAL": True, "BLOCK": 4096}, {}),
        (fused._add_norm_kernel, norm, {"HAS_RESIDUAL": False, "residual": None, "BLOCK": 1024}, {}),
    ]
    for by_mass in (False, True):
        for number in (0, 3):
            sizes = {"BY_MASS": by_mass, "PASS": number, "PASSES": 6, "DIGIT_BITS": 5, "TILE": 256} | blocks
            found.append((triton_sample._wide_pass_kernel, wide, sizes, {}))
    kept = [(HIDDEN, tl.bfloat16, one) for one in (BACKBONE, CRQ, TINY, SPOKEN)]
    if capability >= 89:  # the first with conversions from and to 8 bits, in which the speech head's caches may be
        kept.append(("*fp8e4nv", tl.float16, CRQ))
    for cache, wide, (count, kv_heads, dim, normed) in kept:
        sizes, caches = {"HEADS": count, "KV_HEADS": kv_heads, "DIM": dim}, {"keys": cache, "values": cache}
        store_gains: dict[str, None] = {} if normed else {"q_norm": None, "k_norm": None}
        attend_gains: dict[str, None] = {} if normed else {"q_gain": None, "k_gain": None}
        found.append((fused._store_kv_kernel, heads | caches, sizes | {"NORM": normed} | store_gains, {}))
        padded = triton.next_power_of_2(count // kv_heads)
        sizes = sizes | {"WIDE": wide}
        for tiles in (triton_attend.tiles_for(1), triton_attend.tiles_for(64)):
            parts = sizes | {"ROWS": 16, "PADDED": padded, "NORM": normed} | attend_gains
            parts |= {"BLOCK": tiles.block, "SPLITS": tiles.splits, "STAGES": tiles.stages}
            options = {"num_warps": tiles.warps, "num_stages": tiles.stages}
            found.append((triton_attend._attend_kernel, attend | caches, parts, options))
        parts = sizes | {"ROWS": RUN_TOKENS * padded, "BLOCK": attend_prompt.BLOCK_POSITIONS}
        found.append((attend_prompt._attend_prompt_kernel, prompts | caches, parts, {"num_stages": 2}))
    fitted: dict[int, list[Variant]] = {shared: [] for shared in SHARED_MEMORY[capability]}
    for eight_bits in (False, True):
        kind = {"weight": "*u8" if eight_bits else HIDDEN}
        scale = {"EIGHT_BITS": eight_bits} | ({} if eight_bits else {"scale": None})
        for width, outputs, use in LAYER[1:3] if eight_bits else LAYER:
            sizes = triton_linear.one_row_tiles(width)
            options = {"num_warps": sizes.pop("num_warps")}
            wanted = {"gain": use["NORM"], "residual": use["ADD"], "bias": use["BIAS"]}
            missing = {name: None for name in wanted if not wanted[name]}
            found.append((triton_linear._one_row_kernel, one_row | kind, sizes | use | scale | missing, options))
            for rows in (2,) if eight_bits else (2, triton_linear.MAX_ROWS):
                for shared, fitting in fitted.items():
                    fitting.append(_rows_variant(rows, outputs, use, some_rows | kind, scale, shared))
    for shared, fitting in fitted.items():
        kind = {"weight": "*u8"}
        rows = triton_linear.MAX_ROWS_8_BITS
        fitting.append(_rows_variant(rows, 6144, _ALONE, some_rows | kind, {"EIGHT_BITS": True}, shared))
    found += spoken()
    enter = {"x": HIDDEN, "gain": HIDDEN, "scaled": HIDDEN, "squares": "*fp32", "width": "i32"}
    found.append((triton_linear._enter_kernel, enter, {"BLOCK": 4096}, {}))
    return found, fitted


def spoken() -> list[Variant]:
    """CosyVoice3's flow and vocoder, at full size and at the tests'."""
    places = {
        "rows": "*i64",
        "keep": "*i64",
        "written": "*i64",
        "mask": "*u8",
        "length": "i32",
        "context": "i32",
        "limit": "i32",
    }
    strides = {"tails_stride": "i32", "ring_stride": "i32", "scale": "fp32", "width": "i32", "eps": "fp32"}
    names = ("x", "gate", "product", "shift", "total", "out", "tails", "weight", "bias", "qkv", "ring")
    flow_types = dict.fromkeys(names, HIDDEN) | places | strides | {"rotation": "*fp32"}
    norm_types = flow_types | {"scale": HIDDEN}
    found: list[Variant] = []
    for heads, dim, channels in ((16, 64, 64), (4, 16, 4)):
        inner = heads * dim
        padded = {"PADDED": max(16, dim)}
        found += [
            (flow._modulated_kernel, norm_types, {"ADD": True, "BLOCK": inner}, {}),
            (flow._rotate_kernel, flow_types, {"INNER": inner, "DIM": dim, "BLOCK": dim // 2}, {"num_warps": 1}),
            (flow._keep_kernel, flow_types, {"INNER": inner, "BLOCK": 2 * inner}, {}),
            (flow._tails_kernel, flow_types, {"WIDTH": inner, "TAIL": 30, "PADDED": 32, "BLOCK": 64}, {}),
        ]
        conv = {"WIDTH": inner, "GROUP": channels, "PADDED": max(16, channels), "TAPS": 31, "BLOCK": flow.CONV_FRAMES}
        found.append((flow._position_conv_kernel, flow_types, conv, {}))
        for queries in flow.BLOCK_FRAMES:
            sizes = {"HEADS": heads, "DIM": dim, "QUERIES": queries, "BLOCK": flow.BLOCK_KEYS} | padded
            found.append((flow._attend_kernel, flow_types, sizes, {"num_stages": 2}))
    vocoder_names = ("x", "added", "bias", "alpha", "tails", "total", "joined", "new_tails")
    for kind, whole in (("*fp32", True), ("*fp64", False)):
        types = dict.fromkeys(vocoder_names, kind) | dict.fromkeys(
            ("length", "channels", "steps", "rate", "tails_stride"), "i32"
        )
        missing: dict[str, Any] = {} if whole else dict.fromkeys(("added", "bias", "alpha"))
        uses = dict.fromkeys(("ADD", "BIAS", "SNAKE"), whole)
        found.append((vocoder._enter_kernel, types | {"frames": "*i64"}, uses | missing | {"BLOCK": vocoder.BLOCK}, {}))
    return found


def _rows_variant(
    rows: int, outputs: int, use: dict[str, bool], types: dict[str, str], scale: dict[str, Any], shared: int
) -> Variant:
    sizes = triton_linear.tiles(rows, outputs, gated=use["GATED"], bytes_each=2, shared=shared)
    options = {"num_warps": sizes.pop("num_warps"), "num_stages": sizes["STAGES"]}
    missing = {"squares": None} if not use["NORM"] else {}
    missing |= {"residual": None, "gain": None} if not use["ADD"] else {}
    missing |= {"bias": None} if not use["BIAS"] else {}
    return triton_linear._rows_kernel, types, sizes | use | scale | missing | {"PARTS": 128}, options


def compiled(variant: Variant, capability: int, shared: int) -> bool:
    """Whether it is, and fits."""
    kernel, types, constants, options = variant
    signature = {name: "constexpr" if name in constants else types[name] for name in kernel.arg_names}
    aligned = [
        [index]
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*") or name in ("width", "outputs", "page_size")
    ]
    source = ASTSource(
        fn=kernel,
        signature=signature,
        constexprs={(kernel.arg_names.index(name),): value for name, value in constants.items()},
        attrs={tuple(index): [["tt.divisibility", 16]] for index in aligned},
    )
    try:
        taken = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options).metadata.shared
    except (CompilationError, RuntimeError) as error:
        print(f"FAIL {kernel.__name__} {constants}: {error}")
        return False
    print(f"{'ok  ' if taken <= shared else 'FAIL'} {kernel.__name__} {constants} shared memory {taken} of {shared}")
    return taken <= shared


def main(capability: int) -> int:
    everywhere, fitted = variants(capability)
    done = [compiled(variant, capability, min(fitted)) for variant in everywhere]
    done += [compiled(variant, capability, shared) for shared, fitting in fitted.items() for variant in fitting]
    return 0 if all(done) else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
