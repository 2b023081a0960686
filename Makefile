# SPDX-License-Identifier: GPL-2.0-only
# One file, no configure step. `make help` lists what there is to do.
# V=1 shows the commands. Everything built lies below build/.

.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
.DEFAULT_GOAL := all

# `make ARCH=arm64` cross-builds, and sets some of what follows. Not by the environment, where
# other builds look for that name.
ifeq ($(origin ARCH),command line)
include vmtest/cross.mk
endif

O       ?= build
CC      ?= gcc
CLANG   ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
PKG_CONFIG ?= pkg-config
PREFIX  ?= /usr/local
Q       := $(if $(V),,@)
say      = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

# Libraries, and the Debian package of each, for the message when one lacks.
LIBS         := libbpf libuv libnl-route-3.0 libfyaml libmicrohttpd libnghttp2 libcurl jansson
PACKAGES     := libbpf-dev libuv1-dev libnl-route-3-dev libfyaml-dev libmicrohttpd-dev libnghttp2-dev libcurl4-openssl-dev libjansson-dev
# These install what they need before they build (by a second make): nothing may be missing yet.
SELF_SERVED  := help deps clean test demo lab bench uninstall vmtest-arm64
NEEDS_BUILD  := $(filter-out $(SELF_SERVED),$(or $(MAKECMDGOALS),all))
ifneq ($(NEEDS_BUILD),)
MISSING := $(strip $(foreach lib,$(LIBS),$(shell $(PKG_CONFIG) --exists $(lib) 2>/dev/null || echo $(lib))))
ifneq ($(MISSING),)
$(error These libraries are missing: $(MISSING). Run `make deps` as root (Debian packages: $(PACKAGES)))
endif
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LIBS) 2>/dev/null)
PKG_LIBS   := $(shell $(PKG_CONFIG) --libs $(LIBS) 2>/dev/null) -lm
endif

MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)
VERSION   := $(shell sed -n 's/^## \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md 2>/dev/null | head -n 1)

CPPFLAGS  := -D_GNU_SOURCE -DSLUICE_VERSION='"$(or $(VERSION),0.0.0)"' -Iinclude -I$(O)
CFLAGS    ?= -O2 -g
WARN      := -std=gnu11 -Wall -Wextra -Wno-unused-parameter $(if $(CI),-Werror)
SAN       := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -Wall -Wextra -Wno-unused-parameter -Wno-unused-function \
             -Wno-address-of-packed-member -Iinclude -I$(SYSROOT)/usr/include/$(MULTIARCH)

USER_SRC  := $(filter-out user/main.c,$(wildcard user/*.c))
TOOL_SRC  := $(wildcard tools/sluice/*.c)
UNIT_SRC  := $(wildcard tests/unit/*_test.c)
FUZZ_SRC  := $(if $(SYSROOT),,$(wildcard tests/fuzz/*_fuzz.c))
BPFT_SRC  := $(wildcard tests/bpf/*_test.c)
TLIB_SRC  := $(wildcard tests/lib/*.c)

SKEL      := $(O)/sluice.skel.h
USER_OBJ  := $(USER_SRC:%.c=$(O)/%.o)
TOOL_OBJ  := $(TOOL_SRC:%.c=$(O)/%.o)

all: $(O)/sluiced $(O)/sluice ## build the agent and the CLI (the default)

# ---- kernel programs -----------------------------------------------------------
$(O)/%.bpf.o: %.bpf.c
	$(call say,BPF,$<)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(BPF_FLAGS) -MMD -MP -c $< -o $@

$(SKEL): $(O)/bpf/sluice.bpf.o
	$(call say,SKEL,$@)
	$(Q)$(BPFTOOL) gen skeleton $< name sluice_bpf > $@

# ---- user space ------------------------------------------------------------------
# Only datapath.c sees the skeleton.
$(O)/user/datapath.o $(O)/san/user/datapath.o: $(SKEL)

$(O)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(WARN) -MMD -MP -c $< -o $@

$(O)/libsluice.a: $(USER_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/sluiced: $(O)/user/main.o $(O)/libsluice.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(PKG_LIBS) -lpthread

$(O)/sluice: $(TOOL_OBJ) $(O)/libsluice.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(PKG_LIBS)

# ---- tests: the same sources once more, with sanitizers -----------------------------
$(O)/san/%.o: %.c
	$(call say,SAN,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -Iuser -Itests/lib $(PKG_CFLAGS) -O1 -g $(SAN) $(WARN) -MMD -MP -c $< -o $@

$(O)/san/libsluice.a: $(USER_SRC:%.c=$(O)/san/%.o)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/tests/unit/%: $(O)/san/tests/unit/%.o $(O)/san/libsluice.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(SAN) -o $@ $^ $(PKG_LIBS) -lpthread

# libFuzzer comes with clang.
$(O)/tests/fuzz/%: tests/fuzz/%.c $(USER_SRC) $(SKEL)
	$(call say,FUZZ,$@)
	@mkdir -p $(@D)
	$(Q)$(CLANG) $(CPPFLAGS) -Iuser -Ibpf -Itests/lib $(PKG_CFLAGS) -O1 -g -fsanitize=fuzzer,address,undefined \
		-fno-sanitize-recover=undefined -std=gnu11 -w -o $@ $< $$(sed -n 's/.*fuzz-links: *\([^*]*\).*/\1/p' $<) $(PKG_LIBS)

# BPF_PROG_TEST_RUN tables: no sanitizer needed around the kernel's own verifier.
$(O)/tests/bpf/%: $(O)/tests/bpf/%.o $(TLIB_SRC:%.c=$(O)/%.o) $(O)/libsluice.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(PKG_LIBS)
$(O)/tests/bpf/%.o $(O)/tests/lib/%.o $(O)/tests/bench/%.o: CPPFLAGS += -Iuser -Itests/lib
$(TOOL_OBJ): CPPFLAGS += -Iuser
$(BPFT_SRC:%.c=$(O)/%.o) $(TLIB_SRC:%.c=$(O)/%.o): $(SKEL)

# Stand-alone helpers of the e2e tests and benches: one .c file, one program.
$(O)/tests/e2e/%: tests/e2e/%.c $(wildcard tests/e2e/*.h tests/lib/*.h include/sluice/*.h)
	$(call say,CC,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WARN) -o $@ $< -lpthread
$(O)/tests/bench/%: $(O)/tests/bench/%.o $(TLIB_SRC:%.c=$(O)/%.o) $(O)/libsluice.a
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -o $@ $^ $(PKG_LIBS)

E2E_BIN   := $(patsubst %.c,$(O)/%,$(filter-out %.bpf.c,$(wildcard tests/e2e/*.c))) \
             $(patsubst %.c,$(O)/%.o,$(wildcard tests/e2e/*.bpf.c))
UNIT_BIN  := $(patsubst %.c,$(O)/%,$(UNIT_SRC))
FUZZ_BIN  := $(patsubst %.c,$(O)/%,$(FUZZ_SRC))
BPFT_BIN  := $(patsubst %.c,$(O)/%,$(BPFT_SRC))
BENCH_BIN := $(patsubst %.c,$(O)/%,$(filter-out %.bpf.c,$(wildcard tests/bench/*.c)))
BENCH_BPF := $(patsubst %.c,$(O)/%.o,$(wildcard tests/bench/*.bpf.c))
VM_BPF    := $(patsubst %.c,$(O)/%.o,$(wildcard tests/vm/*.bpf.c))


# ---- everyday targets -------------------------------------------------------------------
deps: ## install the Debian packages that build, tests and demo need (root)
	$(Q)scripts/deps

demo: ## half a minute of Sluice at work in a lab of network namespaces, beside iptables (root)
	$(Q)scripts/deps
	$(Q)$(MAKE) -j$$(nproc) --no-print-directory all $(E2E_BIN)
	$(Q)scripts/demo

lab: ## leave that lab running to play with, and say what to try (root); scripts/lab down ends it
	$(Q)scripts/deps
	$(Q)$(MAKE) -j$$(nproc) --no-print-directory all $(E2E_BIN)
	$(Q)scripts/lab up

test: ## everything: layout, unit, fuzz smoke, packet tables, verifier budgets, end to end, a VM's kernel (root)
	$(Q)scripts/deps
	$(Q)$(MAKE) -j$$(nproc) --no-print-directory all tests
	$(Q)tests/run abi floor unit fuzz bpf verifier man e2e vm

tests: $(UNIT_BIN) $(FUZZ_BIN) $(BPFT_BIN) $(E2E_BIN) $(BENCH_BIN) $(BENCH_BPF) $(VM_BPF) ## build all tests, run none

check-abi: ## show that the shared layout has no hidden padding
	$(Q)tests/run abi
unit: all $(UNIT_BIN) $(BPFT_BIN) ## run the unit tests (ASan, UBSan)
	$(Q)tests/run unit
fuzz: $(FUZZ_BIN) ## run each fuzzer for FUZZ_SECONDS (5), from a seed of its own each time
	$(Q)FUZZ_SEED=0 tests/run fuzz
test-bpf: $(BPFT_BIN) ## run the packet tables against the kernel (root)
	$(Q)tests/run bpf
e2e: all $(E2E_BIN) $(VM_BPF) ## run the end-to-end tests (root); E2E="paths storm" chooses
	$(Q)tests/run-e2e $(E2E)
test-paths: all $(E2E_BIN) $(VM_BPF) ## every way a packet can take, tried and printed as a table (root)
	$(Q)tests/run-e2e matrix
test-storm: all $(E2E_BIN) $(VM_BPF) ## STORM (200000) connections on each of those ways, 18666 from outside to another node (root; some minutes)
	$(Q)STORM=$(or $(STORM),200000) LIMIT=3600 tests/run-e2e storm storm_paths
verifier-stats: $(O)/bpf/sluice.bpf.o $(O)/tests/bench/verifier_stats ## instructions the verifier follows, per program (root)
	$(Q)$(O)/tests/bench/verifier_stats $<
verifier-table: $(O)/bpf/sluice.bpf.o $(O)/tests/bench/verifier_stats ## the same on all kernels of vmtest/matrix, into docs/BENCHMARKS.md (root)
	$(Q)scripts/bench --update verifier

# ---- the same tests on other kernels, in virtual machines (vmtest/matrix) ----
VM_NEEDS  := all $(BPFT_BIN) $(E2E_BIN) $(VM_BPF) $(O)/tests/bench/verifier_stats
vmtest-needs: $(VM_NEEDS)
vmtest: $(VM_NEEDS) ## run the tests on each kernel of vmtest/matrix in QEMU (root); KERNELS="6.1 7.x" chooses
	$(Q)O=$(O) vmtest/test $(KERNELS)
vmtest-ci: $(VM_NEEDS) ## the same, one kernel and a few minutes' choice of tests (root)
	$(Q)O=$(O) vmtest/test --quick --verbose $(or $(KERNELS),6.1)

# The unit tests and packet tables; the e2e tests' servers and clients are this machine's own.
vmtest-arm64: ## cross-build for arm64, and test on its kernels, emulated (root); KERNELS="arm64" chooses
	$(Q)scripts/deps arm64
	$(Q)vmtest/get-root arm64
	$(Q)$(MAKE) -j$$(nproc) --no-print-directory ARCH=arm64 vmtest-arm64-needs
	$(Q)O=build/arm64 vmtest/test --verbose $(or $(KERNELS),arm64 arm64-16k)
vmtest-arm64-needs: all $(UNIT_BIN) $(BPFT_BIN) $(O)/tests/bench/verifier_stats

bench: ## measure; writes docs/BENCHMARKS.md (root, a quiet machine)
	$(Q)scripts/deps
	$(Q)$(MAKE) -j$$(nproc) --no-print-directory all tests
	$(Q)scripts/bench

# ---- installation ---------------------------------------------------------------------------
DEST    := $(DESTDIR)$(PREFIX)
install: all ## install programs, man pages and completion below PREFIX (/usr/local)
	$(Q)install -D -m 755 $(O)/sluiced $(DEST)/sbin/sluiced
	$(Q)install -D -m 755 $(O)/sluice $(DEST)/bin/sluice
	$(Q)install -D -m 644 -t $(DEST)/share/man/man8 man/sluice.8 man/sluiced.8
	$(Q)install -D -m 644 scripts/sluice.bash $(DEST)/share/bash-completion/completions/sluice

uninstall: ## remove what install put there
	$(Q)rm -f $(DEST)/sbin/sluiced $(DEST)/bin/sluice $(DEST)/share/man/man8/sluice.8 \
		$(DEST)/share/man/man8/sluiced.8 $(DEST)/share/bash-completion/completions/sluice

clean: ## remove build/
	$(Q)rm -rf $(O)

help: ## this text
	@echo "Sluice: a load balancer for inference replicas that lives in the kernel."
	@echo
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):[^#]*## /  make \1\t/' | expand -t 22

-include $(shell find $(O) -name '*.d' 2>/dev/null)
.PHONY: all deps demo lab test tests check-abi unit fuzz test-bpf e2e test-paths test-storm verifier-stats verifier-table vmtest \
	vmtest-ci vmtest-needs vmtest-arm64 vmtest-arm64-needs bench install uninstall clean help
