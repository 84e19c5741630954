#!/bin/sh
# get_peers.sh - install what `make bench` compares gram with, outside of the repository.
#
#   scripts/get_peers.sh DIR        afterwards: make bench PEERS=DIR      (or export PEERS)
#
# DIR gets a Python environment (torch, transformers, gguf), llama.cpp built for this processor from the sources inside
# the package llama-cpp-python, and the model of the demo as F32, Q8_0 and Q4_0 GGUF and as a Hugging Face directory.
# Takes about 3 GB and, on 2 cores, ten minutes. Needs python3-venv, cmake, ninja-build, g++.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
[ $# -eq 1 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2; }
mkdir -p "$1"
dir=$(cd "$1" && pwd)
model=${GRAM_MODEL:-build/model/SmolLM2-135M-Instruct.Q4_1.gguf}
[ -f "$model" ] || { echo "get_peers.sh: $model is not there: run make model first" >&2; exit 1; }

[ -x "$dir/venv/bin/python" ] || python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -q -r "$here/requirements.txt"

if [ ! -x "$dir/bin/llama-server" ]; then
    cd "$dir"
    [ -d src ] || {
        "$dir/venv/bin/pip" download -q --no-deps --no-binary llama-cpp-python llama-cpp-python==0.3.36
        mkdir src.new
        tar xzf llama_cpp_python-*.tar.gz -C src.new --strip-components=3 --wildcards '*/vendor/llama.cpp'
        # gcc 12 takes stores of AMX's tile configuration for dead, and llama.cpp then dies on such a processor (its
        # pull request 26954): the address goes through an empty asm, which lets no store be dropped.
        sed -i 's|^\( *\)_tile_loadconfig(&tc);|\1__asm__ volatile("" :: "r"(\&tc) : "memory");\n&|' \
            src.new/ggml/src/ggml-cpu/amx/mmq.cpp
        mv src.new src
    }
    cmake -G Ninja -S src -B build -DCMAKE_BUILD_TYPE=Release -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF \
          -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_UI=OFF -DLLAMA_USE_PREBUILT_UI=OFF -DLLAMA_BUILD_APP=OFF \
          -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF
    ninja -C build llama-bench llama-server
    mkdir -p bin
    cc -O2 -Wall -Wextra "$here/bench_llamacpp.c" -Isrc/include -Isrc/ggml/include -Lbuild/bin \
       -Wl,-rpath,"$dir/build/bin" -lllama -lggml -lggml-base -o bin/bench_llamacpp
    cc -O2 -Wall -Wextra "$here/bench_llama_write.c" -Isrc/include -Isrc/ggml/include -Lbuild/bin \
       -Wl,-rpath,"$dir/build/bin" -lllama -lggml -lggml-base -o bin/bench_llama_write
    ln -sf ../build/bin/llama-bench bin/llama-bench
    ln -sf ../build/bin/llama-server bin/llama-server
    cd - > /dev/null
fi
for type in F32 Q8_0 Q4_0; do
    [ -f "$dir/$type.gguf" ] || "$dir/venv/bin/python" "$here/make_f32_gguf.py" "$model" "$dir/$type.gguf" "$type"
done
[ -f "$dir/hf/model.safetensors" ] || "$dir/venv/bin/python" "$here/make_hf_dir.py" "$model" "$dir/hf"
echo "ready: make bench PEERS=$dir"
