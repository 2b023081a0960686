// SPDX-License-Identifier: GPL-2.0-only
/*
 * Handshakes that cannot be retried: nobody has room for their SYN, or it cannot be kept, or it cannot be
 * made again. They go on without, and a counter says so. r1 is picked first, then r2.
 */
#include "bpf_fixture.h"
#include "check.h"

#define SYN "client:4000 > vip:80 S seq 7 len 0 opts 20"
#define SYN_TO(r) "client:4000 > " r ":8000 S seq 7 len 0 opts 20"
#define REFUSAL_OF(r) r ":8000 > client:4000 RA seq 0 ack 8 len 0"
#define REFUSAL "vip:80 > client:4000 RA seq 0 ack 8 len 0"
#define ROWS_TRIED 32u /* for one SYN: PENDING_TRIES of bpf/pending.h */

static const struct step to_r1 = {FROM_POD, SYN, NEXT, SYN_TO("r1")};
static const struct step to_r2 = {FROM_POD, SYN, NEXT, SYN_TO("r2")};
static const struct step retried = {TO_POD, REFUSAL_OF("r1"), TRIMMED, SYN};
static const struct step refused = {TO_POD, REFUSAL_OF("r1"), NEXT, REFUSAL};

static void begin(struct fixture *f)
{
	fixture_simple(f, 0, 2);
	f->replicas[1].config.weight = 50;
}

/* Somebody else has every row but the `free`th to be looked at next. */
static void occupy(struct fixture *f, __u32 free)
{
	for (__u32 i = 0; i < SL_PENDING; i++)
		f->pending[i].phase = SL_PENDING_CLAIMED;
	f->pending[(f->kernel->pending_head + free) & (SL_PENDING - 1)].phase = SL_PENDING_FREE;
}

static void no_room(struct fixture *f)
{
	begin(f);
	occupy(f, ROWS_TRIED);
	CHECK(fixture_step(f, &to_r1));
	CHECK_INT(fixture_counter(f, SL_COUNT_NO_PENDING), 1);
	CHECK_INT(fixture_flow(f)->pending, 0);
	CHECK(fixture_step(f, &refused));
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 0);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->kernel->half_open, 0);
}

static void last_room(struct fixture *f)
{
	begin(f);
	occupy(f, ROWS_TRIED - 1);
	CHECK(fixture_step(f, &to_r1));
	CHECK(fixture_step(f, &retried));
	CHECK(fixture_step(f, &to_r2));
	CHECK_INT(fixture_counter(f, SL_COUNT_NO_PENDING), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 1);
}

TEST(without_a_free_row_a_connect_is_not_retried)
{
	fixture_each(no_room, NULL);
	fixture_each(last_room, NULL);
}

/* Its options do not all lie in the packet. */
static void unreadable(struct fixture *f)
{
	struct fixture_result result;
	unsigned pending = 0;

	begin(f);
	fixture_send(f, FROM_POD, f->v6 ? SYN " cut 84" : SYN " cut 64", &result);
	CHECK_INT(result.verdict, NEXT);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_NO_PENDING), 1);
	CHECK_INT(fixture_flow(f)->pending, 0);
	for (__u32 i = 0; i < SL_PENDING; i++)
		pending += f->pending[i].phase != SL_PENDING_FREE;
	CHECK_INT(pending, 0);
}

TEST(a_syn_that_cannot_be_read_is_not_kept)
{
	fixture_each(unreadable, NULL);
}

/* ---- the refusal that does not become a SYN again ----*/

static void no_vip(struct sl_pending *p)
{
	p->vip = ~0u;
}

static void too_many_options(struct sl_pending *p)
{
	p->n_options = SL_SYN_OPTIONS_MAX + 4;
}

static void no_device(struct sl_pending *p)
{
	p->ifindex = 0;
}

/* Then the refusal is dropped, for it was booked already. The client's next SYN finds another replica. */
static void cannot_be_made(struct fixture *f, void (*spoil)(struct sl_pending *p))
{
	static const struct step lost = {TO_POD, REFUSAL_OF("r1"), SHOT, NULL};
	bool complete = f->complete;

	begin(f);
	CHECK(fixture_step(f, &to_r1));
	spoil(&f->pending[fixture_flow(f)->pending - 1]);
	f->complete = false; /* see TRIMMED */
	CHECK(fixture_step(f, &lost));
	f->complete = complete;
	CHECK_INT(fixture_drops(f, SL_DROP_RETRY_FAILED), 1);
	fixture_age(f, 1);
	CHECK(fixture_step(f, &to_r2));
	CHECK_INT(f->replicas[0].state.inflight, 0);
	CHECK_INT(f->replicas[1].state.inflight, 1);
}

static void spoilt(struct fixture *f)
{
	cannot_be_made(f, no_vip);
}

static void overlong(struct fixture *f)
{
	cannot_be_made(f, too_many_options);
}

static void homeless(struct fixture *f)
{
	cannot_be_made(f, no_device);
}

TEST(a_syn_that_cannot_be_made_again)
{
	fixture_each(spoilt, NULL);
	fixture_each(overlong, NULL);
	fixture_each(homeless, NULL);
}
