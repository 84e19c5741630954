# gram - `make` builds build/gram, `make test` passes the tests, `make demo` judges real pairs and learns.
#
#   make demo-align        a policy learns from a reward that can be checked by eye
#   make deps model        the Debian packages that are missing; the small model of the demo and the tests
#   make test-text         the tests of src/text alone; they link that folder and those above it only
#   make SAN=asan test     AddressSanitizer and UndefinedBehaviorSanitizer, in build-asan/
#   make SAN=tsan test     ThreadSanitizer, in build-tsan/
#   make fuzz              each fuzz target for FUZZ_SECONDS, in build-fuzz/
#   make layers headers    no #include points down; each header compiles alone; columns: no line has more than 120
#   make check             all of these
#   make cuda              libgram-cuda.so, for GPUs (docs/gpu.md), where nvcc is; emu-all: all of its tests on an
#                          emulated one, an hour
#   make coverage          gcov over the tests, in build-cov/
#   make clang             all of it by another compiler, in build-clang/; WERROR=1 makes warnings errors
#   make mutants           plants mistakes and asks whether a test names each: the test of the tests, ten minutes
#   make bench             time gram and its kernels, a CSV row each time; bench-train: steps of training;
#                          bench-report: what scripts/device_check.sh measured on a GPU, into docs/gpu.md
#   make release           tarball, wheel and Debian package of the commit, after a check of the library's ABI
#   make install           PREFIX and DESTDIR are respected; uninstall takes it back

ifeq ($(origin CC),default)
CC      := $(if $(filter fuzz,$(SAN)),clang,gcc)
endif
PYTHON  ?= python3
SAN     ?=
COV     ?=
B       := build$(if $(SAN),-$(SAN))$(if $(COV),-cov)
WERROR  ?=
PREFIX  ?= /usr/local

# The order of the folders: each includes its own headers and those of folders before it.
# tensor stands before file: a file format names the type of each tensor that it holds.
LAYERS  := base jinja text tensor file op comm optim model generate data reward rationale train eval align api serve cli

PKGS    := jansson libpcre2-8 libutf8proc zlib libzstd liblz4 libcyaml nettle popt libmicrohttpd
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla \
           -Wundef -Wwrite-strings -Wno-missing-field-initializers
OPT     := -O2 -g
CPPFLAGS += -Iinclude -Isrc -Itests -D_GNU_SOURCE -MMD -MP
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS) 2>/dev/null)
SERVE_LIBS := $(shell pkg-config --libs libmicrohttpd 2>/dev/null)
CLI_LIBS   := $(shell pkg-config --libs popt 2>/dev/null) $(SERVE_LIBS)
LIBS       := $(shell pkg-config --libs $(filter-out popt libmicrohttpd,$(PKGS)) 2>/dev/null) -ldnnl -lgomp -lm -pthread
CFLAGS_ALL = -std=c11 $(WARN) $(if $(WERROR),-Werror) $(OPT) -fPIC -fvisibility=hidden -ffp-contract=off -pthread \
             $(CFLAGS) $(PKG_CFLAGS)

# A report of a sanitizer needs names and lines alone; all that -g says of 150 tests takes minutes to link.
ifeq ($(SAN),asan)
OPT     := -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(SAN),tsan)
OPT     := -O1 -g1 -fsanitize=thread
LDFLAGS += -fsanitize=thread
endif
ifeq ($(SAN),fuzz)
OPT     := -O1 -g1 -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
endif
ifeq ($(COV),1)
OPT     := -O1 -g --coverage
LDFLAGS += --coverage
endif

# A file's suffix alone earns it an instruction set; only op/kern.c may lead there.
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := $(ISA_avx2) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512
ISA_vnni   := $(ISA_avx512) -mavx512vnni
isa = $(foreach i,avx2 avx512 vnni,$(if $(filter %_$(i).c,$(1)),$(ISA_$(i))))

obj     = $(patsubst %.c,$(B)/%.o,$(wildcard src/$(1)/*.c))
LIBOBJ  := $(foreach l,$(filter-out serve cli,$(LAYERS)),$(call obj,$(l)))
CLIOBJ  := $(if $(wildcard src/cli/cmd_serve.c),$(call obj,serve)) $(call obj,cli)
up_to   = $(if $(filter $(1),$(firstword $(2))),$(1),$(firstword $(2)) $(call up_to,$(1),$(wordlist 2,99,$(2))))

VERSION := $(shell sed -n 's/^.define GRAM_VERSION "\(.*\)"/\1/p' include/gram/gram.h)
SONAME  := libgram.so.$(firstword $(subst ., ,$(VERSION)))
# A target that others of its kind must wait for starts a make of its own, on all cores unless -j was given.
MAKE_ALL = $(MAKE) $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

# One line a file; `make V=1` shows the commands.
say = $(if $(V),,@echo "  $(1)  $@" && )

all: $(B)/gram

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) $(CFLAGS_ALL) $(call isa,$<) -c $< -o $@

$(B)/src/serve/assets.o: $(wildcard web/*) /usr/share/javascript/d3/d3.min.js /usr/share/doc/libjs-d3/copyright

$(B)/libgram.a: $(LIBOBJ)
	@rm -f $@
	$(call say,AR)ar rcs $@ $^

# Only what include/gram/ declares can be seen from outside.
$(B)/libgram.so: $(LIBOBJ)
	$(call say,LD)$(CC) $(LDFLAGS) -shared -Wl,-soname,$(SONAME) -Wl,--no-undefined -o $@ $^ $(LIBS)
	@ln -sf libgram.so $(@D)/$(SONAME)

$(B)/gram: $(CLIOBJ) $(B)/libgram.a
	$(call say,LD)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(CLI_LIBS)

# Tests: tests/FOLDER/test_*.c, each a cmocka program over src/FOLDER and the folders above it.
TESTS   := $(patsubst %.c,$(B)/%,$(wildcard tests/*/test_*.c))
define test_rules
$(patsubst %.c,$(B)/%,$(wildcard tests/$(1)/test_*.c)): $(B)/%: $(B)/%.o $(B)/tests/check.o \
    $(foreach l,$(call up_to,$(1),$(LAYERS)),$(call obj,$(l)))
	$$(call say,LD)$$(CC) $$(LDFLAGS) -o $$@ $$^ $$(LIBS) -lcmocka \
	    $(if $(filter serve cli,$(1)),$$(CLI_LIBS))
test-$(1): $(patsubst %.c,$(B)/%,$(wildcard tests/$(1)/test_*.c))
	@scripts/run_tests.sh $$^
endef
$(foreach l,$(LAYERS),$(eval $(call test_rules,$(l))))

# A GPU that is emulated on the CPU, for tests: the kernels and src/cuda over tests/emu, as the library that libgram
# opens by name, and beside it what stands for cublasLt and for NCCL. The emulator speaks to the sanitizers, and is
# not compiled by them.
EMU      := $(B)/emu
CXX_OF   := $(if $(findstring clang,$(CC)),clang++,g++)
CXXWARN  := -std=c++17 -Wall -Wextra $(if $(WERROR),-Werror) -fPIC
CXXFLAGS_ALL = $(CXXWARN) $(OPT) -fvisibility=hidden -ffp-contract=off -DGR_EMU
EMU_ALONE := $(CXXWARN) -O2 -g -D_GNU_SOURCE $(if $(SAN),-DEMU_$(shell echo $(SAN) | tr a-z A-Z))
EMU_CU   := $(patsubst src/op/%.cu,$(EMU)/%.cu.o,$(wildcard src/op/*.cu))
EMU_C    := $(patsubst src/cuda/%.c,$(EMU)/%.o,$(wildcard src/cuda/*.c))
EMU_LIBS := $(EMU)/libgram-cuda.so $(EMU)/libcublasLt.so.13 $(EMU)/libnccl.so.2
$(EMU)/%.cu.o: src/op/%.cu
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX_OF) -x c++ $(CPPFLAGS) $(CXXFLAGS_ALL) -Wno-unknown-pragmas -c $< -o $@
$(EMU)/%.emu.o: tests/emu/%.cc
	@mkdir -p $(@D)
	$(call say,CXX)$(CXX_OF) $(CPPFLAGS) $(EMU_ALONE) -c $< -o $@
$(EMU)/lt.o: tests/emu/lt.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=c11 -O3 -g $(ISA_avx2) -ffp-contract=off $(WARN) -Itests -MMD -MP -fPIC -c $< -o $@
$(EMU)/stands_nccl.o: tests/emu/nccl.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) -std=c11 -O2 -g -D_GNU_SOURCE -DGR_EMU $(WARN) -Itests -Isrc -MMD -MP -fPIC -c $< -o $@
$(EMU)/%.o: src/cuda/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) -DGR_EMU $(CFLAGS_ALL) -c $< -o $@
$(EMU)/libemu.so: $(patsubst tests/emu/%.cc,$(EMU)/%.emu.o,$(wildcard tests/emu/*.cc))
	$(call say,LD)$(CXX_OF) -shared -o $@ $^ -pthread
$(EMU)/libcublasLt.so.13: $(EMU)/lt.o $(EMU)/libemu.so
	$(call say,LD)$(CC) -shared -Wl,-soname,$(@F) -o $@ $< -L$(EMU) -lemu -Wl,-rpath,'$$ORIGIN'
$(EMU)/libnccl.so.2: $(EMU)/stands_nccl.o $(EMU)/libemu.so
	$(call say,LD)$(CC) -shared -Wl,-soname,$(@F) -o $@ $< -L$(EMU) -lemu -Wl,-rpath,'$$ORIGIN'
# What libgram-cuda.so has of libgram: copies of what it calls of these folders.
$(B)/core.a: $(call obj,base) $(call obj,tensor)
	@rm -f $@
	$(call say,AR)ar rcs $@ $^
$(EMU)/libgram-cuda.so: $(EMU_CU) $(EMU_C) $(B)/core.a $(EMU)/libemu.so
	$(call say,LD)$(CXX_OF) $(LDFLAGS) -shared -Wl,--exclude-libs,ALL -o $@ $(EMU_CU) $(EMU_C) $(B)/core.a -L$(EMU) -lemu \
	    -Wl,-rpath,'$$ORIGIN' -lm -pthread
# The same for GPUs, by nvcc.
NVCC     ?= nvcc
CUDA     ?= $(abspath $(dir $(shell command -v $(NVCC)))/..)
CUDA_ARCHS ?= 80 86 89 90a 100 120
# Nothing of the host's half needs the library of C++. Each operation is rounded by itself, as on a CPU: fused products
# are written where they are meant.
CUDA_HOST := -fPIC,-fvisibility=hidden,-fno-threadsafe-statics,-fno-exceptions,-fno-rtti
CUDA_CU  := $(patsubst src/op/%.cu,$(B)/cuda/%.cu.o,$(wildcard src/op/*.cu))
CUDA_C   := $(patsubst src/cuda/%.c,$(B)/cuda/%.o,$(wildcard src/cuda/*.c))
$(B)/cuda/%.cu.o: src/op/%.cu
	@mkdir -p $(@D)
	$(call say,NVCC)$(NVCC) -std=c++17 -O3 -fmad=false -Iinclude -Isrc -MMD -MP -Xcompiler $(CUDA_HOST) \
	    $(foreach a,$(CUDA_ARCHS),-gencode arch=compute_$(a),code=sm_$(a)) -c $< -o $@
$(B)/cuda/%.o: src/cuda/%.c
	@mkdir -p $(@D)
	$(call say,CC)$(CC) $(CPPFLAGS) -isystem $(CUDA)/include $(CFLAGS_ALL) -c $< -o $@
$(B)/libgram-cuda.so: $(CUDA_CU) $(CUDA_C) $(B)/core.a
	$(call say,LD)$(CC) -shared -Wl,--no-undefined -Wl,--exclude-libs,ALL -o $@ $(CUDA_CU) $(CUDA_C) $(B)/core.a \
	    -L$(CUDA)/lib64 -L$(CUDA)/lib -lcudart_static -ldl -lrt -lm -pthread
cuda: $(B)/libgram-cuda.so
	@! $(CC) -std=c11 -isystem $(CUDA)/include -Itests -fsyntax-only tests/emu/same.c 2>&1 | grep .
GPU_TESTS := $(filter %_gpu,$(TESTS))
$(GPU_TESTS): | $(EMU_LIBS)
# Tests of kernels whose every body runs on it as well.
ON_GPU   := $(patsubst %.c,$(B)/%,$(shell grep -l '"op/on_gpu.h"' tests/op/test_*.c))
$(ON_GPU): $(B)/tests/op/on_gpu.o | $(EMU_LIBS)

# The one program that is built with MPI: it holds what src/comm declares against mpi.h.
MPI_CFLAGS := $(shell pkg-config --cflags ompi-c 2>/dev/null)
MPI_LIBS   := $(shell pkg-config --libs ompi-c 2>/dev/null)
$(B)/tests/comm/test_mpi.o: CFLAGS += $(MPI_CFLAGS) -Wno-cast-function-type
$(B)/tests/comm/test_mpi: LIBS += $(MPI_LIBS)

# The server over an engine without a model: for tests in other languages, and for load.
FAKE_SERVER := $(B)/tests/serve/fake_server
$(FAKE_SERVER): $(B)/tests/serve/fake_server.o $(call obj,serve) $(B)/libgram.a
	$(call say,LD)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(SERVE_LIBS)

# Tables for tests of commands that read them.
WRITE_TABLE := $(B)/tests/file/write_table
$(WRITE_TABLE): $(B)/tests/file/write_table.o $(B)/libgram.a
	$(call say,LD)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

# Examples, built as a user would build them.
EXAMPLES := $(patsubst %.c,$(B)/%,$(wildcard examples/*.c))
$(EXAMPLES): $(B)/%: %.c $(B)/libgram.so
	@mkdir -p $(@D)
	$(call say,LD)$(CC) $(LDFLAGS) -Wall -Wextra -O2 -Iinclude -o $@ $< -L$(B) -lgram -Wl,-rpath,$(abspath $(B))

# Fuzz targets: tests/fuzz/fuzz_NAME.c, with its seeds in tests/fuzz/corpus/NAME/.
FUZZ_SECONDS ?= 10
FUZZERS := $(patsubst %.c,$(B)/%,$(wildcard tests/fuzz/fuzz_*.c))
$(FUZZERS): $(B)/%: $(B)/%.o $(B)/libgram.a
	$(call say,LD)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $(filter %.o,$^) $(filter %.a,$^) $(LIBS)
SERVE_FUZZERS := $(B)/tests/fuzz/fuzz_serve $(B)/tests/fuzz/fuzz_http
$(SERVE_FUZZERS): LIBS += $(SERVE_LIBS)
$(SERVE_FUZZERS): $(call obj,serve)

# What measures: bench/NAME.c. `make clang` asks all of it for its warnings.
BENCHES := $(patsubst %.c,$(B)/%,$(wildcard bench/*.c))
$(BENCHES): $(B)/%: $(B)/%.o $(B)/libgram.a
	$(call say,LD)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

E2E := $(filter-out %/lib.sh,$(wildcard tests/e2e/*.sh))
# Under a sanitizer the real model takes minutes, and tiny ones pass through the same code.
GRAM_MODEL ?= $(if $(SAN),,build/model/SmolLM2-135M-Instruct.Q4_1.gguf)
export B GRAM_MODEL

deps:
	@scripts/deps.sh
test-deps:
	@scripts/deps.sh tests

# The program fetches its own base model; where that is there already it is only checked.
MODEL_DIR := build/model
model: all
	@$(B)/gram fetch --dir $(MODEL_DIR)

tests: all $(TESTS) $(EXAMPLES) $(FAKE_SERVER) $(WRITE_TABLE)

# Without a network there is no model, and what compares it with other programs says so and is left out.
test: test-deps
	@scripts/get_duckdb.sh || true
	@$(MAKE_ALL) --no-print-directory tests
	@$(B)/gram fetch --dir $(MODEL_DIR) || true
	@scripts/run_tests.sh $(TESTS) $(E2E)

demo: deps
	@$(MAKE_ALL) --no-print-directory model
	@scripts/demo.sh

demo-align: deps
	@$(MAKE_ALL) --no-print-directory model
	@scripts/demo_align.sh

check: deps layers headers
	@$(MAKE) --no-print-directory test
	@$(MAKE) --no-print-directory SAN=asan test
	@$(MAKE) --no-print-directory tsan
	@$(MAKE) --no-print-directory fuzz

# ThreadSanitizer over what runs threads of its own: of kernels, the products, whose weights threads share. Left out is
# what has one thread (a measured run of test_memory, test_options, test_sample, and test_killed, whose children train
# as test_train does), and what does for minutes what others do for seconds: test_align beside test_align_faults and
# _dist, test_dist beside test_align_dist, test_golden_scores beside test_golden_models and test_golden_smollm2. On the
# emulated GPU each of a block's threads is one to ThreadSanitizer.
tsan:
	@$(MAKE_ALL) --no-print-directory SAN=tsan GRAM_MODEL= tsan-run
NO_TSAN    := $(addprefix %/test_,memory options sample killed align dist golden_scores)
TSAN_TESTS := $(filter $(addprefix $(B)/tests/,base/% op/test_matmul% op/test_nomem model/% reward/% generate/% api/% \
              serve/%),$(TESTS))
TSAN_TESTS := $(sort $(filter-out $(NO_TSAN),$(TSAN_TESTS)) $(GPU_TESTS))
tsan-run: $(TSAN_TESTS) $(FAKE_SERVER)
	@scripts/run_tests.sh $(TSAN_TESTS) tests/e2e/serve_load.sh tests/e2e/gpu_mutants.sh

# What it compiles is not run: it is asked for its warnings and whether it links.
clang:
	@$(MAKE_ALL) --no-print-directory CC=clang B=build-clang OPT=-O0 tests benches

mutants:
	@scripts/mutants.py

# What tests/e2e/gpu_tests.sh has some cases of, with all of them.
emu-all: tests
	@GRAM_TEST_ALL=1 tests/e2e/gpu_tests.sh

# Each kernel of a GPU for each kind of GPU, by nvcc: registers and spills, to bench/cuda_ptxas.csv.
cuda-ptxas:
	@scripts/cuda_ptxas.sh

tarball:
	@scripts/build_tarball.sh
deb: all
	@scripts/build_deb.sh
wheel:
	@scripts/build_wheel.sh
release:
	@scripts/release.sh

columns:
	@scripts/columns.sh
layers:
	@scripts/layers.sh $(subst op ,op cuda ,$(LAYERS))

headers:
	@scripts/headers.sh "$(CC)"

fuzz:
	@$(MAKE_ALL) --no-print-directory SAN=fuzz fuzz-build
	@$(MAKE) --no-print-directory SAN=fuzz fuzz-run
fuzz-build: $(FUZZERS)
fuzz-run:
	@scripts/run_fuzz.sh $(FUZZ_SECONDS) $(FUZZERS)

unit: $(TESTS)
	@scripts/run_tests.sh $^

coverage: deps
	@$(MAKE_ALL) --no-print-directory model || true
	@$(MAKE_ALL) --no-print-directory COV=1 unit
	@gcovr --root . --filter src/ --object-directory build-cov --exclude-throw-branches --print-summary

benches: $(BENCHES)
bench: all
	@scripts/bench.sh

# What scripts/device_check.sh wrote, into the tables of docs/gpu.md.
JSON ?= device_check.json
bench-report:
	@$(PYTHON) scripts/bench_report.py $(JSON) docs/gpu.md

bench-train: all
	@scripts/bench.sh bench_train

clean:
	rm -rf build build-*

include mk/install.mk

.PHONY: cuda cuda-ptxas emu-all tarball deb wheel release all deps test-deps model tests test unit demo demo-align \
        check clang mutants tsan tsan-run columns layers headers fuzz fuzz-build fuzz-run coverage benches bench \
        bench-report bench-train clean $(addprefix test-,$(LAYERS))
.SECONDARY:
-include $(shell find $(B) -name '*.d' -type f 2>/dev/null)
