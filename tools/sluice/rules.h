/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules of the packet filter, as iptables-save and nft print them: whether one of them drops packets
 * that conntrack calls INVALID on the way that forwarded packets take. Reads text, touches no kernel.
 */
#ifndef SLUICE_RULES_H
#define SLUICE_RULES_H

#include <stdbool.h>

struct rules {
	void *by_name;              /* a tree of tsearch(3) */
	struct rules_chain *chains; /* the same, as a list */
	char *table;                /* whose lines come now; NULL: one that is not read */
	struct rules_chain *chain;  /* of nft: whose lines come now; NULL: none */
	bool failed;                /* out of memory */
};

/* A zeroed struct rules is an empty one. */
void rules_done(struct rules *rules);

/* The next line of `program`-save, or of `nft list ruleset`; it is cut to pieces. A table of one
 * program is not mixed up with that of another. */
void rules_add_save(struct rules *rules, const char *program, char *line);
void rules_add_nft(struct rules *rules, char *line);

/* Whether a chain at the hooks prerouting, forward or postrouting, or one that such a chain leads to,
 * drops or rejects INVALID packets. */
bool rules_drop_invalid(struct rules *rules);

#endif
