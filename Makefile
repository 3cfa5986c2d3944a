# mlpwatt: one non-recursive Makefile. `make help` lists the targets.
# Local choices (CXX, OPT, PREFIX, BUILD, GPU_ARCH ...) go into config.mk or on the command line.

-include config.mk
BUILD      ?= build
PREFIX     ?= /usr/local
CXX        := $(if $(filter default undefined,$(origin CXX)),g++,$(CXX))
OPT        ?= -O2
SANITIZE   ?=
ARGS       ?=
SUITE_ARGS ?=
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
LIGHT := help clean format lint deps deps-test datasets distclean
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
SOURCES   := $(sort $(shell find $(ROOMS) -name '*.cpp'))
MAIN      := harness/main.cpp
TESTS     := $(sort $(shell find tests -name '*_test.cpp') $(wildcard tests/support/*.cpp))
CUDA_SRC  := $(if $(NVCC),$(sort $(shell find gpu -name '*.cu')))
OBJECTS   := $(SOURCES:%.cpp=$(BUILD)/%.o) $(CUDA_SRC:%.cu=$(BUILD)/%.cu.o)
LIBRARY   := $(filter-out $(BUILD)/$(MAIN:.cpp=.o),$(OBJECTS))
TEST_OBJ  := $(TESTS:%.cpp=$(BUILD)/%.o)

COMMIT    := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)$(shell git diff --quiet HEAD 2>/dev/null || echo +modified)
WARNINGS  := -Wall -Wextra -Wshadow -Wno-missing-field-initializers
BASE      := -std=c++20 $(OPT) -g1 -fopenmp -I. $(WARNINGS) $(SANITIZE)
ALL_FLAGS  = $(BASE) $(PKG_CFLAGS) -MMD -MP $(CXXFLAGS)
LINK_LIBS  = $(SANITIZE) -fopenmp $(LDFLAGS) $(PKG_LIBS) $(CUDA_LIBS)

# Instruction sets are given to micro-kernel files only, by the end of the file's name; everything else is
# plain x86-64 (or whatever the target is), so one binary runs everywhere and picks at run time.
ISA_FLAGS = $(if $(filter %_avx512.cpp,$<),-O3 -mavx512f -mavx512vl -mavx512bw -mavx512dq -mavx2 -mfma)\
            $(if $(filter %_avx2.cpp,$<),-O3 -mavx2 -mfma)\
            $(if $(filter %_avx2_nofma.cpp,$<),-O3 -mavx2 -mno-fma -ffp-contract=off)\
            $(if $(filter %_generic.cpp,$<),-O3)

$(BUILD)/%.o: %.cpp | $(BUILD)/toolchain.mk
	@mkdir -p $(@D)
	@echo "  CXX   $<"
	@$(CXX) $(ALL_FLAGS) $(strip $(ISA_FLAGS)) $(FACT_FLAGS) -c $< -o $@

# What built this binary goes into every record; its own object is rebuilt when any of it changes.
BUILD_FACTS = '-DMLPWATT_COMMIT="$(COMMIT)"' '-DMLPWATT_COMPILER_FLAGS="$(strip $(BASE) $(CXXFLAGS))"' \
              '-DMLPWATT_SOURCE_DIR="$(CURDIR)"' '-DMLPWATT_PREFIX="$(PREFIX)"'
$(BUILD)/harness/build_facts.o: FACT_FLAGS = $(BUILD_FACTS)
$(BUILD)/harness/build_facts.o: $(BUILD)/build_facts.txt
$(BUILD)/build_facts.txt: FORCE
	@mkdir -p $(@D); echo '$(COMMIT) $(BASE) $(CXXFLAGS) $(CURDIR) $(PREFIX)' | cmp -s - $@ || echo '$(COMMIT) $(BASE) $(CXXFLAGS) $(CURDIR) $(PREFIX)' > $@
FORCE:

ifneq ($(NVCC),)
NVCC_FLAGS ?= -std=c++20 -O3 -lineinfo -I. -Xcompiler -fopenmp
GENCODE    ?= $(if $(GPU_ARCH),-arch=$(if $(filter native,$(GPU_ARCH)),native,sm_$(GPU_ARCH)),\
              -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90a,code=sm_90a -gencode=arch=compute_100,code=sm_100 -gencode=arch=compute_80,code=compute_80)
CUDA_HOME  ?= $(patsubst %/bin/nvcc,%,$(NVCC))
CUDA_LIBS   = $(if $(CUDA_SRC),-L$(CUDA_HOME)/lib64 -lcudart_static -lrt)
$(BUILD)/%.cu.o: %.cu | $(BUILD)/toolchain.mk
	@mkdir -p $(@D)
	@echo "  NVCC  $<"
	@$(NVCC) $(NVCC_FLAGS) $(GENCODE) -MMD -MP -MF $(@:.o=.d) -c $< -o $@
endif

$(BUILD)/mlpwatt: $(OBJECTS)
	@echo "  LINK  $@"
	@$(CXX) $^ $(LINK_LIBS) -o $@

$(BUILD)/mlpwatt_tests: $(LIBRARY) $(TEST_OBJ)
	@echo "  LINK  $@"
	@$(CXX) $^ $(LINK_LIBS) -lgtest -lgmock -o $@

-include $(OBJECTS:.o=.d) $(TEST_OBJ:.o=.d)

## ---- targets -------------------------------------------------------------------------------
.PHONY: help deps deps-test build bench suite run list test soak format lint sanitize install clean datasets compile_commands.json FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-zA-Z0-9_.-]+:.*## / { printf "  make %-22s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install what building and benchmarking need (apt; else prints the line to type)
	@harness/setup/deps.sh build meter read
deps-test: ## the same, and what the tests need
	@harness/setup/deps.sh build meter read test

build: $(BUILD)/mlpwatt ## build the program build/mlpwatt

format: ## clang-format every source file in place
	@command -v clang-format >/dev/null || { echo "make format: clang-format is not installed (apt-get install clang-format)"; exit 1; }
	@find $(ROOMS) gpu tests \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) | xargs clang-format -i

clean: ## remove everything built
	@rm -rf $(BUILD)
