# SPDX-License-Identifier: GPL-2.0-only
# `make ARCH=arm64 ...` builds for another architecture, below build/arm64, with Debian's cross
# compiler and the libraries that vmtest/get-root unpacked. Kernel programs and the skeleton come
# from this machine's clang and bpftool as ever. Included by the Makefile when ARCH is given.

ifneq ($(ARCH),arm64)
$(error ARCH=$(ARCH): arm64 is the only architecture to cross-build for)
endif
TRIPLET := aarch64-linux-gnu
SYSROOT := $(shell vmtest/get-root --where $(ARCH))
O       := build/$(ARCH)
CC      := $(TRIPLET)-gcc --sysroot=$(SYSROOT)
AR      := $(TRIPLET)-ar
PKG_CONFIG := PKG_CONFIG_SYSROOT_DIR=$(SYSROOT) \
	PKG_CONFIG_LIBDIR=$(SYSROOT)/usr/lib/$(TRIPLET)/pkgconfig:$(SYSROOT)/usr/share/pkgconfig pkg-config

ifeq ($(wildcard $(SYSROOT)/packages),)
$(error No libraries for $(ARCH) in $(SYSROOT). Run `vmtest/get-root $(ARCH)` as root)
endif
ifeq ($(shell command -v $(TRIPLET)-gcc),)
$(error No $(TRIPLET)-gcc. Run `scripts/deps $(ARCH)` as root (Debian package: gcc-$(TRIPLET)))
endif
