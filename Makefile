# mlpwatt: one non-recursive Makefile. `make help` lists the targets.
# Local choices (CXX, OPT, PREFIX, BUILD, GPU_ARCH ...) go into config.mk or on the command line.

-include config.mk
BUILD      ?= build
PREFIX     ?= /usr/local
CXX        := $(if $(filter default undefined,$(origin CXX)),g++,$(CXX))
OPT        ?= -O2
SANITIZE   ?=
ARGS       ?=
GPU_ARCH   ?=
MAKEFLAGS  += --no-builtin-rules
# one job a processor unless the caller chose
ifeq ($(filter -j% --jobserver%,$(MAKEFLAGS)),)
MAKEFLAGS  += -j$(shell nproc 2>/dev/null || echo 1)
endif
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

## ---- what is there -------------------------------------------------------------------------
# Goals that need neither packages nor a compiler must not install any.
LIGHT := help clean format deps deps-test datasets peers peers-gpu record-gpu
ifneq ($(filter-out $(LIGHT),$(or $(MAKECMDGOALS),help)),)
include $(BUILD)/toolchain.mk
endif
# make re-reads itself after making this file: packages first, then what the compiler finds.
$(BUILD)/toolchain.mk: harness/setup/packages.tsv harness/setup/toolchain.sh harness/setup/deps.sh
	@mkdir -p $(@D)
	@harness/setup/deps.sh build meter read
	@CXX="$(CXX)" NVCC="$(NVCC)" harness/setup/toolchain.sh > $@.tmp && mv $@.tmp $@
	@grep -q '^NVCC := .' $@ || echo "mlpwatt: no nvcc found (PATH, CUDA_HOME): building the CPU side only"

## ---- sources -------------------------------------------------------------------------------
ROOMS     := kernels cpu meters harness
# Micro-kernels of x86-64's instruction sets; another target has the portable ones alone.
X86_ONLY  := %_avx512.cpp %_avx2.cpp %_avx2_nofma.cpp
SOURCES   := $(filter-out $(if $(filter x86_64-%,$(TARGET)),,$(X86_ONLY)),$(sort $(shell find $(ROOMS) -name '*.cpp')))
MAIN      := harness/main.cpp
TESTS     := $(sort $(shell find tests -name '*_test.cpp') $(wildcard tests/support/*.cpp tests/emulation/*.cpp))
GPU_SRC   := $(sort $(shell find gpu -name '*.cu'))
GPU_TESTS := $(sort $(wildcard tests/gpu/*_test.cu))
CUDA_SRC  := $(if $(NVCC),$(GPU_SRC))
HOST_OBJ  := $(SOURCES:%.cpp=$(BUILD)/%.o)
OBJECTS   := $(HOST_OBJ) $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o)
LIBRARY   := $(filter-out $(BUILD)/$(MAIN:.cpp=.o),$(HOST_OBJ))
# The test program has gpu/ on the emulator, with or without nvcc; on a device it is build/mlpwatt_gpu_tests.
EMULATED  := $(patsubst %.cu,$(BUILD)/emulated/%.o,$(filter-out gpu/runtime.cu,$(GPU_SRC)) $(GPU_TESTS))
TEST_OBJ  := $(TESTS:%.cpp=$(BUILD)/%.o) $(EMULATED)
PLUGINS   := $(patsubst %.cpp,$(BUILD)/%.so,$(sort $(wildcard tests/plugins/*.cpp)))

COMMIT    := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(if $(shell git status --porcelain -- Makefile $(ROOMS) gpu 2>/dev/null),+modified)
WARNINGS  := -Wall -Wextra -Wshadow -Wno-missing-field-initializers -Wno-unknown-pragmas
BASE      := -std=c++20 $(OPT) -g1 -fopenmp -I. $(WARNINGS) $(SANITIZE)
ALL_FLAGS  = $(BASE) $(PKG_CFLAGS) -MMD -MP $(CXXFLAGS)
LINK_LIBS  = $(SANITIZE) -fopenmp $(LDFLAGS) $(PKG_LIBS) $(CUDA_LIBS)

# Instruction sets are given to micro-kernel files only, by the end of the file's name; everything else is
# plain x86-64 (or whatever the target is), so one binary runs everywhere and picks at run time.
isa_flags = $(strip $(if $(filter %_avx512.cpp,$1),-O3 -fno-math-errno -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma)\
            $(if $(filter %_avx2.cpp,$1),-O3 -fno-math-errno -mavx2 -mfma)\
            $(if $(filter %_avx2_nofma.cpp,$1),-O3 -fno-math-errno -mavx2 -mno-fma -ffp-contract=off)\
            $(if $(filter %_generic.cpp,$1),-O3 -fno-math-errno))

$(BUILD)/%.o: %.cpp $(BUILD)/flags.txt | $(BUILD)/toolchain.mk
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	@$(CXX) $(ALL_FLAGS) $(call isa_flags,$<) $(FACT_FLAGS) -c $< -o $@

# gpu/ for the host: the same sources, run by the emulator of tests/emulation.
$(BUILD)/emulated/%.o: %.cu $(BUILD)/flags.txt | $(BUILD)/toolchain.mk
	@mkdir -p $(@D)
	@echo "  CXX   $< (emulated)"
	@$(CXX) -x c++ $(ALL_FLAGS) -c $< -o $@

# $(call kept,TEXT): a file with TEXT in it, touched only when that changes
kept = @mkdir -p $(@D); printf '%s\n' '$1' | cmp -s - $@ || printf '%s\n' '$1' > $@
# Objects are made again when the compiler or its flags are others than those they were made with.
KERNEL_FLAGS = $(foreach i,avx512 avx2 avx2_nofma generic,$i: $(call isa_flags,micro_$i.cpp);)
$(BUILD)/flags.txt: FORCE
	$(call kept,$(filter-out ccache,$(CXX)) $(ALL_FLAGS) $(KERNEL_FLAGS))
$(BUILD)/nvcc_flags.txt: FORCE
	$(call kept,$(NVCC_FACT))

# What built this binary goes into every record; its own object is rebuilt when any of it changes.
NVCC_FACT   = $(if $(NVCC),nvcc $(NVCC_VERSION) $(strip $(NVCC_FLAGS) $(GENCODE)))
BUILD_FACTS = '-DMLPWATT_COMMIT="$(COMMIT)"' '-DMLPWATT_COMPILER_FLAGS="$(strip $(BASE) $(CXXFLAGS))"' \
              '-DMLPWATT_KERNEL_FLAGS="$(KERNEL_FLAGS) "' '-DMLPWATT_NVCC="$(NVCC_FACT)"' \
              '-DMLPWATT_SOURCE_DIR="$(CURDIR)"' '-DMLPWATT_PREFIX="$(PREFIX)"'
# The same names with any text, for who only reads the source.
FACT_STANDINS = $(foreach f,$(filter '-DMLPWATT_%,$(BUILD_FACTS)),$(subst ',,$(firstword $(subst =, ,$f)))=__FILE__)
$(BUILD)/harness/build_facts.o: FACT_FLAGS = $(BUILD_FACTS)
$(BUILD)/harness/build_facts.o: $(BUILD)/build_facts.txt
$(BUILD)/build_facts.txt: FORCE
	$(call kept,$(COMMIT) $(BASE) $(CXXFLAGS) $(NVCC_FACT) $(CURDIR) $(PREFIX))
FORCE:

ifneq ($(NVCC),)
NVCC_VERSION := $(shell $(NVCC) --version | sed -n 's/.*, V//p')
NVCC_FLAGS ?= -std=c++20 -O3 -lineinfo -I. -Xcompiler -fopenmp
# nvcc's own "native" is sm_90 on a Hopper, and the warpgroup kernels need sm_90a: the driver's tool is asked instead.
NATIVE_ARCH = $(or $(shell nvidia-smi --query-gpu=compute_cap --format=csv$(COMMA)noheader 2>/dev/null | sed -n '1s/[^0-9]//gp'),\
              $(error GPU_ARCH=native: nvidia-smi names no device here; say which, e.g. GPU_ARCH=80 or GPU_ARCH=90a))
COMMA      := ,
ARCH        = $(patsubst 90,90a,$(if $(filter native,$(GPU_ARCH)),$(NATIVE_ARCH),$(GPU_ARCH)))
# PTX of 9.0, not 8.0: what is compiled from it on a later device must have the cluster kernels' clusters.
GENCODE    ?= $(if $(GPU_ARCH),-arch=sm_$(ARCH),\
              -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_100,code=sm_100 -gencode=arch=compute_90,code=compute_90)
CUDA_HOME  ?= $(patsubst %/bin/nvcc,%,$(NVCC))
CUDA_LIBS   = $(if $(CUDA_SRC),-L$(CUDA_HOME)/lib64 -lcudart_static -lrt)
# Files without kernels go through nvcc once instead of once an architecture (PTX, should one slip in).
GPU_HOST_SRC := gpu/runtime.cu gpu/failure.cu gpu/device_facts.cu gpu/gemm/gemm.cu gpu/gemm/cublas.cu gpu/gemm/gemm_benchmarks.cu gpu/probes/sizes.cu
$(GPU_HOST_SRC:%.cu=$(BUILD)/%.cu.o): private GENCODE := -gencode=arch=compute_80,code=compute_80
# What ptxas says of registers and spills stays beside the object: tests/gpu/registers_test.cpp reads it.
$(BUILD)/%.cu.o: %.cu $(BUILD)/nvcc_flags.txt | $(BUILD)/toolchain.mk
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	@$(NVCC) $(NVCC_FLAGS) $(GENCODE) -Xptxas -v -MMD -MP -MF $(@:.o=.d) -c $< -o $@ 2> $(@:.o=.ptxas); \
	  status=$$?; grep -v -E '^ptxas info|bytes stack frame|^ *time = |^$$' $(@:.o=.ptxas) >&2; exit $$status
endif

$(BUILD)/mlpwatt: $(OBJECTS)
	@echo "  LINK  $@"
	@$(CXX) $^ $(LINK_LIBS) -o $@

# Libraries that tests let the program or a simulator load: a driver's, a simulated BMC's.
$(BUILD)/tests/plugins/%.so: tests/plugins/%.cpp | $(BUILD)/deps-test.stamp
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	@$(CXX) -std=c++20 $(OPT) -I. $(WARNINGS) -fPIC -shared -MMD -MP $< -o $@

# The tests of gpu/ on a device: the same sources that mlpwatt_tests has on the emulator.
GPU_TEST_OBJ := $(if $(NVCC),$(GPU_TESTS:%.cu=$(BUILD)/%.cu.o))
$(BUILD)/mlpwatt_gpu_tests: $(LIBRARY) $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o) $(GPU_TEST_OBJ)
	@echo "  LINK  $@"
	@$(CXX) $^ $(LINK_LIBS) -lgtest_main -lgtest -o $@

$(BUILD)/mlpwatt_tests: $(LIBRARY) $(TEST_OBJ) | $(PLUGINS)
	@echo "  LINK  $@"
	@$(CXX) $^ $(LINK_LIBS) -lgtest_main -lgtest -lgmock -lssl $(if $(HAVE_SDE),-lsde) -o $@

-include $(OBJECTS:.o=.d) $(TEST_OBJ:.o=.d) $(GPU_TEST_OBJ:.o=.d) $(PLUGINS:.so=.d)

## ---- targets -------------------------------------------------------------------------------
# every target that `make help` lists
.PHONY: FORCE compile_commands.json $(shell sed -n 's/^\([a-z][a-z-]*\):.*\#\# .*/\1/p' Makefile)

help: ## this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9_. -]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' Makefile

# --- set-up
deps: ## install what building and benchmarking need (apt; else prints the line to type)
	@harness/setup/deps.sh build meter read
deps-test: ## the same, and what the tests need
	@harness/setup/deps.sh build meter read test
	@harness/setup/deps.sh --optional cluster
	@harness/setup/deps.sh --optional browser
$(BUILD)/deps-%.stamp: harness/setup/packages.tsv harness/setup/deps.sh
	@mkdir -p $(@D); harness/setup/deps.sh $* && touch $@
$(BUILD)/deps-cluster.stamp: $(BUILD)/deps-test.stamp
	@harness/setup/deps.sh --optional cluster && touch $@
# one apt at a time: each waits for the one before
$(BUILD)/deps-browser.stamp: $(BUILD)/deps-cluster.stamp
	@harness/setup/deps.sh --optional browser && touch $@
$(TEST_OBJ): | $(BUILD)/deps-test.stamp $(BUILD)/deps-cluster.stamp $(BUILD)/deps-browser.stamp
$(GPU_TEST_OBJ): | $(BUILD)/deps-test.stamp

build: $(BUILD)/mlpwatt ## build the program build/mlpwatt

# --- run
HOST    := $(shell hostname -s 2>/dev/null || echo localhost)
OUT     ?= results/$(HOST)-$(shell date +%Y-%m-%d).h5
MLPWATT := $(BUILD)/mlpwatt
RUN      = $(MLPWATT) run --out $(OUT)

bench: build ## set up, build, run the quick suite (< 3 minutes) into results/<host>-<date>.h5
	@$(RUN) --quick $(ARGS)
suite: build ## every benchmark of every family but the 25,000-network grid (that is a campaign)
	@$(RUN) --suite $(ARGS)
run: build ## one selection: make run KERNEL=<regular expression> [ARGS=...]
	@test -n "$(KERNEL)" || { echo "make run: say which, e.g. make run KERNEL=cpu/gemm/nn/1024x1024x1024 (make list shows all)" >&2; exit 2; }
	@$(RUN) --filter '$(KERNEL)' $(ARGS)
list: build ## the families and how to select from them
	@$(MLPWATT) list $(ARGS)

fma: build ## peak FLOP/s per instruction set
	@$(RUN) --filter '^cpu/fma/' $(ARGS)
stream: build ## bandwidth over working sets that cross each cache level
	@$(RUN) --suite --filter '^cpu/stream/' $(ARGS)
chase: build ## latency over the same working sets
	@$(RUN) --suite --filter '^cpu/chase/' $(ARGS)
gemm: build ## matrix products: squares and training shapes, next to the FMA peak of the same run, on one core and on all
	@$(if $(findstring --threads,$(ARGS)),,$(RUN) --suite --filter '^cpu/(fma|gemm)/' --threads 1 $(ARGS))
	@$(RUN) --suite --filter '^cpu/(fma|gemm)/' $(ARGS)
widths: build ## matrix products of every layer width from 1 to 300, row-major and batch on the lanes, next to the FMA peak of the same run
	@$(RUN) --filter '^cpu/(fma|gemm_width|panel_width)/' --window-s 0.05 $(ARGS)
twins: build ## cache-unfriendly matrix products, next to the FMA peak of the same run
	@$(RUN) --suite --filter '^cpu/(fma|gemm_twin)/' $(ARGS)
regret: build ## the chosen blocking of each matrix product against an exhaustive search
	@OMP_PROC_BIND=close OMP_PLACES=cores $(MLPWATT) gemm-regret $(ARGS)
calibrate: build ## period, lag, window and quantum of a meter: make calibrate METER=hwmon [ARGS=...]
	@test -n "$(METER)" || { echo "make calibrate: say which meter, e.g. make calibrate METER=powercap (build/mlpwatt info lists them)" >&2; exit 2; }
	@$(MLPWATT) calibrate $(METER) $(ARGS)
FILE_METERS := powercap,hwmon,pm_counters
sampler-cost: build ## what looking on costs: training steps with and without the sampler in turns, by stand-ins of every file-made meter, or METER=auto
	@tests/support/instruments.sh $(BUILD)/instruments
	@$(if $(METER),,MLPWATT_METERS=$(BUILD)/instruments/meters.json) OMP_PROC_BIND=close OMP_PLACES=cores $(MLPWATT) calibrate $(or $(METER),$(FILE_METERS)) --sampler-cost $(ARGS)
mlp: build ## training steps of the networks in the suite, next to the FMA peak of the same run, on one core and as the engine chooses
	@$(if $(findstring --threads,$(ARGS)),,$(RUN) --suite --filter '^cpu/(fma|mlp_train)/' --threads 1 $(ARGS))
	@$(RUN) --suite --filter '^cpu/(fma|mlp_train)/' $(ARGS)

bench-gpu: need-nvcc build ## the quick suite of the device: peaks, bandwidths, latencies, products, training steps
	@$(RUN) --quick --filter '^gpu/' $(ARGS)
record-gpu: ## on a GPU machine: build, test, probe, networks of the grid, report in under 9 minutes: make record-gpu OUT=FOLDER
	@BUILD=$(BUILD) MAKE='$(MAKE)' harness/setup/record_gpu.sh '$(if $(filter command environment,$(origin OUT)),$(OUT))'
bundle: need-nvcc build $(BUILD)/mlpwatt_gpu_tests ## program, tests and their shared libraries in build/bundle, for a machine where nothing can be installed
	@harness/setup/bundle.sh $(BUILD)
fma-gpu: need-nvcc build ## peak FLOP/s of the device
	@$(RUN) --suite --filter '^gpu/fma/' $(ARGS)
stream-gpu: need-nvcc build ## bandwidth of the device over working sets that cross each cache level
	@$(RUN) --suite --filter '^gpu/stream/' $(ARGS)
chase-gpu: need-nvcc build ## latency of the device over the same working sets
	@$(RUN) --suite --filter '^gpu/chase/' $(ARGS)
gemm-gpu: need-nvcc build ## matrix products on the device, and cuBLAS's
	@$(RUN) --suite --filter '^gpu/gemm(_cublas)?/' $(ARGS)
mlp-gpu: need-nvcc build ## training steps on the device, of the networks in the suite
	@$(RUN) --suite --filter '^gpu/mlp_train/' $(ARGS)
need-nvcc:
	@test -n "$(NVCC)" || { echo "make: no nvcc found; put it on PATH or say CUDA_HOME=... (and remove $(BUILD)/toolchain.mk)" >&2; exit 1; }
.PHONY: need-nvcc

plan: build ## what of the grid to run: make plan PLAN=FILE ARGS='--datasets mnist --budget 2h' (predicts time)
	@test -n "$(PLAN)" || { echo "make plan: say where it goes, e.g. make plan PLAN=grid.plan ARGS='--budget 2h'" >&2; exit 2; }
	@$(MLPWATT) plan --out $(PLAN) $(ARGS)
campaign: build ## run or go on with a plan: make campaign PLAN=FILE [CAMPAIGN=FOLDER] [ARGS='--shard 1/8']
	@test -n "$(PLAN)" || { echo "make campaign: say which plan, e.g. make campaign PLAN=grid.plan (make plan makes one)" >&2; exit 2; }
	@$(MLPWATT) campaign $(PLAN) --out $(or $(CAMPAIGN),$(basename $(PLAN)).campaign) --resume $(ARGS)
REPORT_FILES ?= $(or $(FILES),$(sort $(wildcard results/*.h5)))
report: build ## the page of figures: make report [FILES=...], from results/*.h5 into results/report.html
	@test -n "$(REPORT_FILES)" || { echo "make report: no results/*.h5 yet; make bench makes one, or say FILES=..." >&2; exit 2; }
	@$(MLPWATT) report $(REPORT_FILES) -o results/report.html --figures results/report-figures $(ARGS)
roofline: build ## probe this machine (fma, stream, chase) and draw its cache-aware roofline
	@$(RUN) --suite --filter '^cpu/(fma|stream|chase)/' --window-s 0.05 $(ARGS)
	@$(MLPWATT) report $(OUT) -o results/roofline.html --figures results/roofline-figures --only roofline --only probes

# --- compare with other people's libraries
peers: ## put what compare-peers compares with into ~/.cache/mlpwatt/peers (MLPWATT_PEERS; 9 GB, or PEERS_INDEX=...)
	@harness/setup/deps.sh peer
	@harness/setup/peers.sh
# A peer that is refused fails the target; what comes after it is still measured.
both = @status=0; $1 || status=$$?; $2 || status=$$?; $(peers_figure); exit $$status
# The ratios against parameters and depth; without them the tables are there all the same.
peers_figure = if /usr/bin/python3 -c 'import h5py, matplotlib' 2>/dev/null; then /usr/bin/python3 results/figures/peers.py $(OUT) $(OUT:.h5=-peers.svg); \
  else echo "no figure: /usr/bin/python3 has no h5py or no matplotlib; later: results/figures/peers.py $(OUT) $(OUT:.h5=-peers.svg)"; fi
compare: build ## ours in turns with every BLAS and framework found, a sample of the grid, one core and all (hours)
	$(call both,$(MLPWATT) compare-peers --threads 1 --out $(OUT) $(ARGS),$(MLPWATT) compare-peers --out $(OUT) $(ARGS))
compare-gpu: need-nvcc build ## ours on the GPU in turns with cuBLAS's products, and with PyTorch and JAX there over the sample of the grid, joules by METERS=auto
	$(call both,$(MLPWATT) compare-cublas --out $(OUT) $(ARGS),MLPWATT_PEERS=$(or $(MLPWATT_PEERS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mlpwatt/peers-gpu) $(MLPWATT) compare-peers --device gpu --only training --meters $(or $(METERS),auto) --out $(OUT) $(ARGS))
peers-gpu: ## the same libraries built for CUDA, into ~/.cache/mlpwatt/peers-gpu
	@PEERS_WANTED=results/peers/requirements-gpu.txt harness/setup/peers.sh $(or $(MLPWATT_PEERS),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mlpwatt/peers-gpu)
compare-quick: build ## the same at a handful of points (< 3 minutes on 2 cores)
	$(call both,$(MLPWATT) compare-peers --quick --threads 1 --only gemm --out $(OUT) $(ARGS),$(MLPWATT) compare-peers --quick --out $(OUT) $(ARGS))

# Five datasets (times do not depend on their values: stand-ins will do), three shapes, every third octave, two depths: enough runs of
# each kernel to price its terms.
MODEL          ?= results/$(HOST)-model.h5
MODEL_NETWORKS := ^cpu/mlp_train/(banana|wine_quality_white|adult|connect_4|mnist)/(rectangle|trapezoid|wide_first_4x)/(1024|8192|65536|524288|4194304)/(3|8)$$
MODEL_RUN       = $(MLPWATT) run --out $(MODEL) --filter '$(MODEL_NETWORKS)' --threads 1 --window-s 0.05 --dataset-source auto
verify-model: build ## fit both kernels and a smaller batch here, then hold what the model says of other kernels, batches and cache-unfriendly twins against runs of them (a quarter of an hour)
	@test ! -e $(MODEL) || { echo "make verify-model: $(MODEL) is there already: two sittings are not one; remove it, or say MODEL=FILE" >&2; exit 2; }
	@$(MODEL_RUN) --algorithm fused
	@$(MODEL_RUN) --algorithm fused --batch 64
	@$(MODEL_RUN) --algorithm blocked
	@$(MLPWATT) fit $(MODEL) --statistic quickest
	@results/verify_predictions.py $(MODEL) --mlpwatt $(MLPWATT) $(ARGS)

datasets: ## fetch the 13 PMLB datasets into the user cache and check their sha256
	@harness/setup/deps.sh data
	@harness/setup/datasets.sh

schema: build ## renew the columns in results/SCHEMA.md from the program's own declarations
	@$(MLPWATT) schema --within results/SCHEMA.md > $(BUILD)/SCHEMA.md && cmp -s $(BUILD)/SCHEMA.md results/SCHEMA.md || cp $(BUILD)/SCHEMA.md results/SCHEMA.md

transcripts: build ## renew the transcripts in README.md and results/SCHEMA.md by running their commands
	@results/transcribe.py README.md results/SCHEMA.md

# --- prove
test: $(BUILD)/mlpwatt $(BUILD)/mlpwatt_tests ## set up, build, run all tests (< 10 minutes on 2 cores)
	@MLPWATT_TEST_JOBS=$(or $(MLPWATT_TEST_JOBS),2) tests/run.sh $(BUILD) --gtest_filter='-Soak*' $(ARGS)
soak: $(BUILD)/mlpwatt $(BUILD)/mlpwatt_tests ## the long proofs: hundreds of kills, hours of waveforms
	@tests/run.sh $(BUILD) --gtest_filter='Soak*' $(ARGS)

test-gpu: need-nvcc $(BUILD)/deps-test.stamp $(BUILD)/mlpwatt_gpu_tests ## gpu/ on the device: large random shapes, then memcheck and racecheck
	@tests/gpu/run.sh $(BUILD)/mlpwatt_gpu_tests $(ARGS)

SANITIZE_FILTER ?= -Soak*:*Readback*
# TSan: a test forks to bind itself elsewhere, beside threads of others (die_after_fork). It does not follow the emulator's fibers (which are one host thread): no Gpu* there.
sanitize: $(BUILD)/deps-lint.stamp ## the tests under ASan + UBSan (g++) and TSan (clang with libomp)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/asan OPT=-O1 SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer' $(BUILD)/asan/mlpwatt $(BUILD)/asan/mlpwatt_tests
	@MLPWATT_SANITIZED=1 LSAN_OPTIONS=suppressions=$(CURDIR)/tests/support/leaks_of_others.txt:print_suppressions=0 tests/run.sh $(BUILD)/asan --gtest_filter='$(SANITIZE_FILTER)' $(ARGS)
	@$(MAKE) --no-print-directory BUILD=$(BUILD)/tsan CXX=clang++ OPT=-O1 SANITIZE=-fsanitize=thread $(BUILD)/tsan/mlpwatt $(BUILD)/tsan/mlpwatt_tests
	@MLPWATT_SANITIZED=1 TSAN_OPTIONS='halt_on_error=1 ignore_noninstrumented_modules=1 die_after_fork=0' tests/run.sh $(BUILD)/tsan --gtest_filter='$(SANITIZE_FILTER):Gpu*' $(ARGS)

# --- keep
FORMATTED = $(shell find $(ROOMS) gpu tests -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
format: ## clang-format every source file in place
	@command -v clang-format >/dev/null || { echo "make format: clang-format is missing (make $(BUILD)/deps-lint.stamp installs it)" >&2; exit 1; }
	@clang-format -i $(FORMATTED)
lint: $(BUILD)/deps-lint.stamp compile_commands.json ## clang-format in check mode, clang-tidy, shellcheck
	@clang-format --dry-run -Werror $(FORMATTED)
	@shellcheck harness/setup/*.sh tests/*.sh tests/gpu/*.sh tests/support/*.sh .ci/run
	@printf '%s\n' $(SOURCES) | xargs -P $(shell nproc) -n 4 clang-tidy --quiet -p . 2>&1 | grep -v -E 'warnings? (generated|suppressed)|^Suppressed|^Use -' ; test $${PIPESTATUS[1]:-0} -eq 0
lint: SHELL := /bin/bash

compile_commands.json: $(BUILD)/toolchain.mk ## the compilation database for editors and clang-tidy
	@: $(file >$@,[)$(foreach s,$(SOURCES) $(TESTS),$(file >>$@,{"directory": "$(CURDIR)"$(comma) "file": "$(s)"$(comma) "command": "$(CXX) $(subst ",\",$(ALL_FLAGS)) $(call isa_flags,$(s)) $(if $(filter harness/build_facts.cpp,$(s)),$(FACT_STANDINS)) -c $(s)"}$(if $(filter $(s),$(lastword $(SOURCES) $(TESTS))),,$(comma))))$(file >>$@,])
comma := ,

install: build ## install under PREFIX (default /usr/local)
	install -D -m 755 $(BUILD)/mlpwatt $(DESTDIR)$(PREFIX)/bin/mlpwatt
	@mkdir -p $(DESTDIR)$(PREFIX)/share/mlpwatt $(DESTDIR)$(PREFIX)/share/doc/mlpwatt
	cp -R kernels/data $(DESTDIR)$(PREFIX)/share/mlpwatt/
	cp -R $(wildcard results/figures results/report results/peers) $(DESTDIR)$(PREFIX)/share/mlpwatt/
	install -m 644 README.md LICENSE results/SCHEMA.md $(DESTDIR)$(PREFIX)/share/doc/mlpwatt/

clean: ## remove everything built
	@rm -rf $(BUILD) compile_commands.json
