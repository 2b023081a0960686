/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The program at XDP against the one at TC: each packet goes through both, with the same tables before
 * it. XDP passes it without a bit changed, in the packet or in the tables; or it sends what TC would
 * send, and leaves the tables as TC would. TC's tables are those that go on.
 */
#ifndef SLUICE_TEST_XDP_TWIN_H
#define SLUICE_TEST_XDP_TWIN_H

#include "bpf_fixture.h"

struct twin_row {
	const char *in;
	const char *out; /* what XDP sends; NULL: it passes the packet */
};

/* Makes a network namespace in which all that is remote (net r1, client) lies behind up0, one gateway on,
 * r4 behind one whose MAC address nobody knows, and r3 behind up1, a device of the same MAC address as
 * up0's (as VLANs of one card have); packets come in by up0 from now on.
 * False: the kernel lacks veth, or whatever. The frames that packet_build() makes go from :0a to :0b. */
bool twin_node(struct fixture *fixture);

/* For options.hz: a quarter of a second of it is longer than a case takes, at any speed of the kernel's
 * clock. */
#define TWIN_HZ 100000
#define TWIN_UNSEEN (TWIN_HZ / 4) /* ticks after which XDP wants TC to see a flow */

/* What the programs may change. */
struct twin_snapshot;
struct twin_snapshot *twin_snapshot_new(struct fixture *fixture);
void twin_snapshot_restore(struct fixture *fixture, const struct twin_snapshot *snapshot);
void twin_snapshot_free(struct twin_snapshot *snapshot);

/* Sends ret->in through both. What is wrong; NULL: nothing. *ret: XDP's result, with the MAC addresses
 * as they came. */
const char *twin_send(struct fixture *fixture, struct fixture_result *ret);
/* The same for a line. */
const char *twin_send_line(struct fixture *fixture, const char *line, struct fixture_result *ret);

/* Sends one row through both and compares; prints what is wrong and returns false. */
bool twin_row(struct fixture *fixture, const struct twin_row *row);
bool twin_rows(struct fixture *fixture, const struct twin_row *rows, size_t n);
#define TWINS(fixture, rows) CHECK(twin_rows(fixture, rows, sizeof(rows) / sizeof((rows)[0])))

#endif
