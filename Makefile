# bluelm. `make help` lists the targets; everything is built under build/.

CC      ?= gcc
CLANG   ?= clang
BUILD   ?= build
CFLAGS  ?= -O2 -g
WARN    := -Wall -Wextra -pedantic -Wconversion -Wshadow -Wvla -Wdouble-promotion \
           -Wstrict-prototypes -Wmissing-prototypes
CSTD    := -std=c99 -D_POSIX_C_SOURCE=200809L
CMOCKA   ?= -lcmocka
V        ?= 0
Q        := $(if $(filter 0,$(V)),@)
say       = $(if $(filter 0,$(V)),@echo "  $(1)" >&2)
COMPILE  = $(CC) $(CSTD) $(WARN) $(CFLAGS) -MMD -MP

LIB_SRC  := $(wildcard base/*.c arena/*.c kernels/*.c gguf/*.c tiler/*.c text/*.c network/*.c families/*.c engine/*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/obj/%.o)
TESTS    := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/test_*.c))
TEST_AID := $(patsubst %.c,$(BUILD)/obj/%.o,$(filter-out tests/test_%.c tests/check_%.c,$(wildcard tests/*.c)))
FUZZERS  := $(patsubst fuzz/fuzz_%.c,%,$(wildcard fuzz/fuzz_*.c))
REPLAYS  := $(FUZZERS:%=$(BUILD)/fuzz/replay_%)
BENCH_OBJ := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard apps/bench/*.c))
APP_OBJ  := $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard apps/*.c))
PORT_OBJ := $(BUILD)/obj/ports/posix/posix.o
DEMO     := demo/bluelm-demo

.PHONY: all help study deps deps-test deps-board deps-clang deps-arm deps-32 deps-cross deps-install install dist demo bench bench-peer models test check \
        sanitize test-arm test-32 run-aarch64 run-cortex-m7 fuzz size deps-train train-demo eval format clean
.SECONDARY:

all: $(BUILD)/libbluelm.a $(BUILD)/bluelm ## build the library and the command

help: ## list the targets
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

# ---- What Debian has and this machine may lack ------------------------------------

APT := $(if $(filter 0,$(shell id -u)),,sudo )apt-get
# $(call need,PACKAGES): installs those that are missing, and says so.
need = missing=""; for p in $(1); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
       if [ -n "$$missing" ]; then echo "installing:$$missing" >&2; \
       $(APT) update -qq && DEBIAN_FRONTEND=noninteractive $(APT) install -y -qq $$missing >/dev/null; fi

deps: ## install what the build needs
	@$(call need,gcc libc6-dev)

deps-test: ## install what the tests need besides (libcmocka-dev)
	@$(call need,gcc libc6-dev libcmocka-dev binutils)

deps-clang: ## install what the clang build and the fuzzers need
	@$(call need,clang libclang-rt-14-dev)

deps-arm: ## install what test-arm needs
	@$(call need,gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user)

deps-32: ## install what test-32 needs
	@$(call need,gcc-12-multilib)

deps-board: ## install what the QEMU board needs
	@$(call need,gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-none-eabi qemu-system-arm)

# ---- Library and command ------------------------------------------------------------

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC $<)
	$(Q)$(COMPILE) -c $< -o $@

$(BUILD)/libbluelm.a: $(BUILD)/obj/bluelm.o
	$(call say,AR $@)
	$(Q)$(AR) rcs $@ $^

$(BUILD)/bluelm: $(APP_OBJ) $(PORT_OBJ) $(BUILD)/libbluelm.a
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $^ -pthread -o $@

$(BUILD)/bench: $(BENCH_OBJ) $(PORT_OBJ) $(BUILD)/libbluelm.a
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $^ -pthread -o $@

$(BUILD)/libbluelm_posix.a: $(PORT_OBJ)
	$(call say,AR $@)
	$(Q)$(AR) rcs $@ $^

PREFIX ?= /usr/local
install: all $(BUILD)/libbluelm_posix.a ## install library, header, port and command under PREFIX (default /usr/local)
	@tools/install.sh $(BUILD) $(abspath $(PREFIX)) $(DESTDIR)

dist: ## write the whole library as two files, dist/bluelm.h and dist/bluelm.c
	@tools/dist.sh dist

demo: deps all $(BUILD)/grid_png ## answer questions on the pictures in demo/images, draw their tiles into build/demo
	@apps/demo.sh $(BUILD) $(DEMO)

# Linked with the library's objects: it uses a decoder that bluelm.h does not offer.
$(BUILD)/grid_png: tools/grid_png.c $(LIB_OBJ) $(PORT_OBJ)
	$(call say,LD $@)
	$(Q)$(COMPILE) -MF $(BUILD)/obj/grid_png.d -MT $@ $< $(LIB_OBJ) $(PORT_OBJ) -pthread -o $@

# ---- Proof ----------------------------------------------------------------------------

$(BUILD)/tests/%: $(BUILD)/obj/tests/%.o $(TEST_AID) $(LIB_OBJ) $(PORT_OBJ)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $^ $(CMOCKA) -lm -pthread -o $@

$(BUILD)/tests/check_kernels: $(BUILD)/obj/apps/bench/limits.o \
    $(patsubst %.c,$(BUILD)/obj/%.o,$(wildcard tests/check_kernels_*.c))

$(BUILD)/fuzz/replay_%: $(BUILD)/obj/fuzz/fuzz_%.o $(BUILD)/obj/fuzz/replay.o $(TEST_AID) $(LIB_OBJ)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $^ -lm -o $@

test: deps-test ## build everything and run all tests
	@$(MAKE) --no-print-directory check

check: $(if $(PROGRAMS_ONLY),,all $(BUILD)/bench $(BUILD)/grid_png) $(TESTS) $(BUILD)/tests/check_kernels $(REPLAYS)
	@tests/run.sh $(BUILD)

THREADED := test_posix test_workers
sanitize: deps-test ## the tests again under AddressSanitizer, UndefinedBehaviorSanitizer, ThreadSanitizer
	@$(MAKE) --no-print-directory check BUILD=$(BUILD)/sanitize PROGRAMS_ONLY=1 \
	    CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
	@$(MAKE) --no-print-directory $(THREADED:%=$(BUILD)/sanitize-threads/tests/%) \
	    BUILD=$(BUILD)/sanitize-threads CFLAGS="-O1 -g -fsanitize=thread"
	@for test in $(THREADED); do $(BUILD)/sanitize-threads/tests/$$test || exit 1; done

# Under the sanitizers gcc needs four minutes for this file, half a minute without the checks of
# pointers that AddressSanitizer makes anyway.
$(BUILD)/obj/kernels/avx512_panel.o: override CFLAGS += -fno-sanitize=null,object-size,alignment

# gcc 12 for aarch64 fails inside its vectoriser on this file.
$(BUILD)/obj/tests/tiny_writer.o: override CFLAGS += -fno-tree-vectorize

ARM_TESTS := check_kernels test_resize test_tiler test_network
test-arm: deps-arm all ## the kernels and a few tests, built for aarch64, under QEMU
	@$(MAKE) --no-print-directory CC=aarch64-linux-gnu-gcc AR=aarch64-linux-gnu-ar BUILD=$(BUILD)/arm \
	    CFLAGS="-O2 -g -static -Itests/cross" CMOCKA= \
	    $(BUILD)/arm/bluelm $(ARM_TESTS:%=$(BUILD)/arm/tests/%)
	@ARM_TESTS="$(ARM_TESTS)" tests/run_arm.sh $(BUILD)/arm $(BUILD)

# gcc-12-multilib leaves the kernel's headers where the compiler does not look for 32 bits.
test-32: deps-32 ## the tests again as 32-bit programs
	@$(MAKE) --no-print-directory check CC="$(CC) -m32" BUILD=$(BUILD)/m32 PROGRAMS_ONLY=1 CMOCKA= \
	    CFLAGS="-O2 -g -msse2 -mfpmath=sse -Itests/cross -idirafter /usr/include/x86_64-linux-gnu" \
	    WARN="-Wall -Wextra -Wshadow"

fuzz: deps-clang ## run each libFuzzer target for FUZZ_SECONDS (default 60)
	@fuzz/run.sh $(BUILD)/fuzz $(or $(FUZZ_SECONDS),60) $(FUZZERS)

deps-install: ## install what the test of make install needs
	@$(call need,cmake pkg-config)

deps-cross: ## install the compilers that size looks for
	@$(call need,gcc-aarch64-linux-gnu libc6-dev-arm64-cross gcc-arm-none-eabi libnewlib-arm-none-eabi \
	    gcc-riscv64-unknown-elf clang llvm)

size: $(BUILD)/libbluelm.a ## code, data and deepest stack on each processor whose compiler is there
	@tools/size.sh $(BUILD)

bench: deps $(BUILD)/bench ## time 3 B models on 1 and 2 threads, 10 minutes, 5 GB under build/ (ARGS="--json --only decode")
	@$(BUILD)/bench $(BUILD)/models $(ARGS)

models: deps $(BUILD)/bench ## write docs/models.md: what runs, in how much memory
	@$(BUILD)/bench $(BUILD)/models --models --speeds docs/models.csv >$(BUILD)/models.md && cp $(BUILD)/models.md docs/models.md

bench-peer: deps $(BUILD)/bench ## prefill and decode in turns with llama.cpp from the npm registry (ARGS=--help)
	@tools/bench_peer $(BUILD) $(ARGS)

# ---- The study -----------------------------------------------------------------------------

STUDY := $(patsubst tools/study/%.c,$(BUILD)/study/%,$(wildcard tools/study/*.c))

$(BUILD)/study/ask: $(BUILD)/obj/tools/study/ask.o $(filter-out %/bluelm.o,$(APP_OBJ)) $(PORT_OBJ) $(BUILD)/libbluelm.a
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $^ -pthread -o $@

$(BUILD)/study/%: $(BUILD)/obj/tools/study/%.o $(LIB_OBJ) $(PORT_OBJ)
	@mkdir -p $(@D)
	$(call say,LD $@)
	$(Q)$(CC) $(CFLAGS) $^ -lm -pthread -o $@

study: deps all $(BUILD)/bench $(STUDY) ## measure what the paper claims: docs/study.md with its CSVs and plots (ARGS="grids fig8")
	@python3 -B tools/study/study.py $(BUILD) $(ARGS)

# ---- Boards ------------------------------------------------------------------------------

run-cortex-m7: deps-board ## boot the demo on QEMU's mps2-an500, a Cortex-M7, without an operating system
	@$(MAKE) --no-print-directory -C ports/baremetal/cortex-m7 run BUILD=$(abspath $(BUILD))/cortex-m7

run-aarch64: deps-board ## boot the demo on QEMU's aarch64 virt machine, without an operating system
	@$(MAKE) --no-print-directory -C ports/baremetal/aarch64 run BUILD=$(abspath $(BUILD))/aarch64

# ---- The demo model -------------------------------------------------------------------------

FONTS := fonts-dejavu-core fonts-dejavu-extra fonts-liberation fonts-freefont-ttf fonts-roboto-unhinted fonts-open-sans \
         fonts-noto-core fonts-lato fonts-crosextra-carlito fonts-urw-base35 fonts-firacode fonts-cantarell

deps-train: ## install what train-demo needs, fonts too
	@$(call need,python3-torch libopenblas0-pthread python3-pil python3-numpy $(FONTS))

train-demo: deps-train ## train the demo model from scratch (hours; a GPU is used where there is one), or go on
	cd tools/train && /usr/bin/python3 train.py $(ARGS)

eval: deps $(BUILD)/bluelm ## ask a model about 2,000 fresh pictures, each kind with its interval (ARGS="--set plain")
	@$(call need,python3-pil python3-numpy $(FONTS))
	@/usr/bin/python3 tools/train/evaluate.py --binary $(BUILD)/bluelm --dir $(BUILD)/eval $(ARGS)

format: ## clang-format every C file
	clang-format -i bluelm.[ch] $(wildcard */*.[ch] */*/*.[ch] ports/*/*/*.[ch])

clean: ## remove build/
	rm -rf $(BUILD)

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)
