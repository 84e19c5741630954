#!/bin/sh
# Mistakes in kernels of a GPU - a barrier, a wait, a mask, a bound that is missing - and whether the emulated one shows
# each: the test of the emulator. A mistake is planted in a copy of one file, which is compiled alone and linked with
# the rest of the build; the test of kernels must then fail. Each is planted in the build that is to see it: any, or the
# one of AddressSanitizer, or of ThreadSanitizer.
set -u
B=${B-build}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
test=$B/tests/op/test_kernels_gpu
[ -e "$B/emu/libgram-cuda.so" ] && [ -x "$test" ] || { echo "no emulated GPU: there is no C++ compiler here"; exit 77; }
# `make` says with what the build's own files are compiled.
CXX=${CXX_OF-g++}
case $B in
*asan*) build=asan; flags="-O1 -fsanitize=address" ;;
*tsan*) build=tsan; flags="-O1 -fsanitize=thread" ;;
*)      build=any;  flags="-O1" ;;
esac
export ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" TSAN_OPTIONS="halt_on_error=1:exitcode=66:${TSAN_OPTIONS:-}"
for l in libemu.so libcublasLt.so.13 libnccl.so.2; do ln -s "$PWD/$B/emu/$l" "$tmp/$l"; done
failed=0 seen=0

# The library with FILE as it is in $tmp/src, compiled from CU, or from a file of src/cuda.
link() {
    objects=$(for o in "$B"/emu/*.cu.o; do [ "$(basename "$o")" = "$1.cu.o" ] || echo "$o"; done)
    options="$flags -I$tmp/src -Iinclude -Isrc -Itests -fPIC -fvisibility=hidden -ffp-contract=off -DGR_EMU"
    # shellcheck disable=SC2086  # lists of flags and files
    case $2 in
    *.c) ${CC-gcc} -std=c11 -D_GNU_SOURCE $options -c "$2" -o "$tmp/mutant.o" ;;
    *)   $CXX -x c++ -std=c++17 -Wno-unknown-pragmas $options -c "$2" -o "$tmp/mutant.o" ;;
    esac &&
    $CXX ${flags#* } -shared -Wl,--exclude-libs,ALL -o "$tmp/libgram-cuda.so" "$tmp/mutant.o" $objects \
        $(ls "$B"/emu/*.o | grep -v -e '\.cu\.o$' -e '\.emu\.o$' -e '/lt\.o$' -e '/stands_nccl\.o$' -e "/$1\.o$") \
        "$B/core.a" -L"$B/emu" -lemu \
        -Wl,-rpath,"$tmp" -lm -pthread
}

# NAME BUILD CU FILE FROM TO TEST: the first FROM in src/op/FILE becomes TO; src/op/CU.cu has it. FILE may be one of
# src/cuda, "../cuda/FILE.c".
mutant() {
    [ "$2" = any ] && [ "$build" = tsan ] && return         # has been seen
    [ "$2" = any ] && [ "$build" = asan ] && return
    [ "$2" = any ] || [ "$2" = "$build" ] || return
    rm -rf "$tmp/src"
    mkdir -p "$tmp/src/op" "$tmp/src/cuda"
    python3 - "src/op/$4" "$tmp/src/op/$4" "$5" "$6" <<'P' || { echo "$1: no longer in $4"; failed=1; return; }
import sys
text = open(sys.argv[1]).read()
if sys.argv[3] not in text:
    sys.exit(1)
open(sys.argv[2], "w").write(text.replace(sys.argv[3], sys.argv[4], 1))
P
    from=src/op/$3.cu
    case $4 in "$3.cu" | *.c) from=$tmp/src/op/$4 ;; esac
    link "$3" "$from" || { echo "$1: does not compile"; failed=1; return; }
    if GRAM_CUDA_PATH=$tmp timeout 100 "$test" "$7" >"$tmp/log" 2>&1; then
        echo "$1: nothing saw it"
        failed=1
    else
        seen=$((seen + 1))
        why=$(grep -m1 -E 'SUMMARY|^emu:|stand-in|wanted|off by|error: Failure|exception' "$tmp/log" | cut -c1-110)
        echo "$1: $why"
    fi
}

mutant sum-of-a-block-without-its-barrier any rmsnorm gpu.cuh \
    '        part[threadIdx.x / 32] = x;
    __syncthreads();' '        part[threadIdx.x / 32] = x;' norms_in_bfloat16
mutant columns-past-the-last any rows gpu.cuh \
    'gpu_least(C, from_ + GPU_EACH_COLS)' '(from_ + GPU_EACH_COLS)' rows_move_bit_for_bit
mutant a-row-past-the-last any rows gpu.cuh 'row < (N) ? ' 'row <= (N) ? ' rows_move_bit_for_bit
mutant keys-used-before-they-came any attn_mma attn_mma.cu 'gpu_copy_wait<0>();' '' attention_in_bfloat16
mutant keys-used-before-all-are-there any attn_mma attn_mma.cu \
    '__syncthreads();                        /* this' '/* this' attention_in_bfloat16
mutant a-query-sees-the-next-key any attn_mma attn_gpu.cuh 'key <= pos &&' 'key <= pos + 1 &&' attention_in_bfloat16
mutant window-one-wider any attn_mma attn_gpu.cuh 'key + a.window > pos' 'key + a.window >= pos' attention_in_bfloat16
mutant more-shared-memory-than-was-asked-for any attn_mma attn_mma.cu \
    'GPU_SHARED_MOST(kernel, shared, GPU_SHARED_ALL);' '' attention_in_bfloat16
mutant lanes-read-weights-too-early any attn_simt attn_simt.cu '__syncwarp();' '' attention_in_bfloat16
mutant a-span-of-keys-left-out any attn attn.cu 'z <= last; z++' 'z < last; z++' keys_shared_among_blocks
mutant slopes-of-keys-without-a-mask any attn_mma_bwd attn_mma_bwd.cu \
    '&& attn_sees(a, run.pos0 + q0 + q, keys.pos0 + key)' '' its_slopes_in_bfloat16
mutant heads-turned-before-all-are-normed any rope rope.cu '__syncwarp();' '' heads_are_normed_and_turned
mutant a-norm-of-one-side-of-its-sum any rmsnorm rmsnorm.cu 'float v = gpu_get(x, n, c);' \
    'float v = gpu_get(ADD ? b : x, n, c);' a_sum_and_its_norm
mutant values-of-a-slice-left-out any adamw adamw.cu '(size_t)gridDim.y * THREADS' '(size_t)gridDim.y * THREADS * 2' \
    a_step_of_many_slices
mutant a-stage-filled-while-it-is-multiplied any gemm90 gemm90.cu \
    'gpu_bar_wait(&r->empty[r->stage], r->parity ^ 1);' '' products_of_a_hopper
mutant a-stage-multiplied-before-it-came any gemm90 gemm90.cu 'gpu_bar_wait(&r->full[r->stage], r->parity);' '' \
    products_of_a_hopper
mutant sums-read-before-they-are-made any gemm90 gemm90.cu 'gpu_wgmma_wait<0>();' '' products_of_a_hopper
mutant a-stage-given-back-too-early any gemm90 gemm90.cu 'gpu_wgmma_wait<1>();' '' products_of_a_hopper
mutant products-without-a-fence any gemm90 gemm90.cu 'gpu_wgmma_fence();' '' products_of_a_hopper
mutant a-tile-that-nobody-sees-moves-bits any attn_mma attn_soft.cuh 'gpu_exp2(*top * unit - shift)' \
    'gpu_exp2(gpu_fma(*top, unit, -shift))' attention_in_bfloat16
# Of attention by products of four warps: its waits, fences, barrier, masks and bounds.
four() { mutant "$1" any attn90 "$2" "$3" "$4" attention_of_a_hopper; }
four keys-of-four-warps-used-before-they-came attn90.cu 'gpu_copy_wait<0>();' ''
four keys-that-wgmma-does-not-see-yet attn90.cu 'gpu_proxy_fence();' ''
four a-fence-before-what-it-is-for attn90.cu 'gpu_copy_wait<0>();
        gpu_proxy_fence();' 'gpu_proxy_fence();
        gpu_copy_wait<0>();'
four keys-of-four-warps-used-before-all-are-there attn90.cu '__syncthreads();                        /* this' '/* this'
four scores-without-a-fence attn90.cuh 'gpu_wgmma_fence();                          /* of scores' '/* of scores'
four scores-read-before-they-are-made attn90.cuh 'gpu_wgmma_wait<0>();                        /* scores' '/* scores'
four scores-that-are-not-committed attn90.cuh 'gpu_wgmma_commit();' ''
four values-added-without-a-fence attn90.cuh 'gpu_wgmma_fence();                          /* of sums' '/* of sums'
four values-read-before-they-are-added attn90.cuh 'gpu_wgmma_wait<0>();                        /* sums' '/* sums'
four slabs-of-values-too-near attn90.cuh 'gpu_tile_across(v, n * 16, BN)' 'gpu_tile_across(v, n * 16, BN / 2)'
four rows-of-the-other-warpgroup attn90.cu 'threadIdx.x / FOUR * ROWS * 128' '0'
four a-tile-too-few-for-a-warpgroup attn90.cu 'b * BN > end' '(b + 1) * BN > end'
four a-tile-too-few-at-the-end attn90.cu 'b <= last / BN; b++) {
        const uint32_t at' 'b < last / BN; b++) {
        const uint32_t at'
four four-warps-see-the-next-key attn_gpu.cuh 'key <= pos &&' 'key <= pos + 1 &&'
four a-window-of-four-warps-one-wider attn_gpu.cuh 'key + a.window > pos' 'key + a.window >= pos'
slopes() { mutant "$1" any attn90_bwd attn90_bwd.cu "$2" "$3" slopes_of_a_hopper; }
slopes slopes-of-keys-that-wgmma-does-not-see-yet 'gpu_proxy_fence();' ''
slopes slopes-of-keys-before-they-came 'gpu_copy_wait<0>();' ''
slopes queries-overwritten-while-four-warps-read '__syncthreads();                    /* nobody' '/* nobody'
slopes queries-of-four-warps-before-all-are-there '__syncthreads();                    /* the tile' '/* the tile'
slopes slopes-of-four-warps-without-a-mask '&& attn_sees(a, run.pos0 + q0 + q, keys.pos0 + key)' ''
mutant slopes-of-four-warps-with-too-little asan attn90_bwd attn90_bwd.cu 'ROWS + 4 * BN)' 'ROWS + 3 * BN)' \
    slopes_of_a_hopper
mutant a-tile-of-four-warps-too-little asan attn90 attn90.cu '4 * BN) * D * 2' '3 * BN) * D * 2' attention_of_a_hopper
mutant sums-of-rows-out-of-order any rows rows.cu 'x->n < y->n ? -1 : x->n > y->n' 'x->n > y->n ? -1 : x->n < y->n' \
    rows_are_added_in_order
mutant a-block-of-keys-overwritten-in-another-order any attn_simt attn_simt.cu \
    '__syncthreads();                                /* the tile before has been read */' '' attention_in_bfloat16
mutant a-tile-too-little-shared-memory asan attn_simt attn_simt.cu ' + ROWS * (COLS + 1)' '' attention_in_bfloat16
mutant a-table-read-past-its-end asan rows rows.cu '(size_t)token[n] * C + c' '((size_t)token[n] + 1) * C + c' \
    embeddings_are_those_of_the_table
mutant a-tile-overwritten-while-it-is-read tsan attn_mma_bwd attn_mma_bwd.cu \
    '__syncthreads();                    /* nobody' '/* nobody' its_slopes_in_bfloat16
mutant a-block-of-keys-overwritten-while-it-is-read tsan attn_simt attn_simt.cu \
    '__syncthreads();                                /* the tile before has been read */' '' attention_in_bfloat16
mutant norms-without-the-barrier tsan rmsnorm gpu.cuh \
    '        part[threadIdx.x / 32] = x;
    __syncthreads();' '        part[threadIdx.x / 32] = x;' norms_in_bfloat16
# Of products by cublasLt: the algorithm that is pinned.
test=$B/tests/op/test_products_gpu
mutant an-algorithm-for-each-number-of-rows any matmul ../cuda/matmul.c 'd, v.d, algo, NULL, 0,' \
    'd, v.d, NULL, NULL, 0,' ''
mutant an-algorithm-for-the-rows-of-the-first-call any matmul ../cuda/matmul.c \
    '*(p->tb ? &asked.k : &asked.n) = PIN_ROWS;' '' ''
# What adds, and what carries, between GPUs of several processes.
test=$B/tests/op/test_rank
mutant ranks-added-from-the-last any rank rank.cu 'size_t p = 1; p < P; p++' 'size_t p = P - 1; p > 0; p--' \
    sums_are_added_in_the_order_of_the_ranks
test=$B/tests/comm/test_links_gpu
mutant a-communicator-that-is-not-waited-for any nccl ../cuda/nccl.c 'r == ncclInProgress; look++' \
    'r == ncclInProgress && (r = ncclSuccess, false); look++' ''
echo "$seen mistakes were seen"
[ "$failed" = 0 ] && [ "$seen" -gt 0 ]
