/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The only home of inline assembly and of tricks that exist for the compiler's
 * or the verifier's sake.
 */
#ifndef SLUICE_BPF_VERIFIER_H
#define SLUICE_BPF_VERIFIER_H

#include <linux/types.h>

/* Keeps clang from merging or repeating the access. */
#define READ_ONCE(x) (*(const volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (*(volatile typeof(x) *)&(x) = (value))

/* Forgets what clang knows of a value, so that the mask behind it is really
 * applied where the verifier can see it (clang 14 drops `& 7` after a test). */
#define opaque(x) asm volatile("" : "+r"(x))

/* `ptr`, so that what is loaded through it is loaded after the load that gave `value`. arm64 keeps
 * that order for an address that was made from the value, not for a mere branch upon it, and BPF
 * has no other barrier for loads before 6.15. The verifier sees ptr + 0. */
#define load_after(ptr, value)                                                                     \
	({                                                                                         \
		__u64 zero_ = (value);                                                             \
		asm volatile("%0 &= 0" : "+r"(zero_));                                             \
		(typeof(ptr))((char *)(ptr) + zero_);                                              \
	})

/* n - 1, which clang takes for any number. Helpers that read n bytes want n > 0, and `if (n)` tells
 * the verifiers of 6.1 and 7.3 nothing: compare this with the limit, and read this + 1. */
static __always_inline __u32 minus_1(__u32 n)
{
	n--;
	opaque(n);
	return n;
}

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#endif
