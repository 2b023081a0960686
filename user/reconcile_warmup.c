// SPDX-License-Identifier: GPL-2.0-only
/*
 * Slow start of replicas: one that joins a service which has others, or comes
 * back from down, ejected or not ready, begins with a small share of its picks.
 * While a replica is out it is marked already, so that its first moment back is
 * as slow as the next. Owns config.warming and SL_REPLICA_WARMING. Called by
 * reconcile_replica.c, and by the agent every 100 ms.
 */
#include <stdio.h>

#include "maps.h"
#include "reconcile_state.h"
#include "warmup.h"

#define NS_PER_MS 1000000ull

static void set_share(struct reconcile *r, __u32 row, __u16 share)
{
	__atomic_store_n(&r->tables->replicas[row].config.warming, share, __ATOMIC_RELEASE);
}

/* Marks a replica that is out, or about to come in: it begins when warm_begin() says so. Its flags
 * are the caller's to store, after this. */
static void arm(struct reconcile *r, __u32 row)
{
	struct warm *warm = &r->warm[row];

	warm->armed = true;
	warm->begun_ns = 0;
	set_share(r, row, warmup_share(&warm->rules, 0));
}

static void begin(struct warm *warm, __u16 share)
{
	uint64_t since_ms = warm->armed ? 0 : warmup_since(&warm->rules, share);

	warm->begun_ns = reconcile_now_ns() - since_ms * NS_PER_MS;
	warm->armed = false;
}

void reconcile_warm_rules(struct reconcile *r, __u32 row, const struct model_warmup *rules,
			  bool first)
{
	struct warm *warm = &r->warm[row];

	if (first || rules->duration_ms > warm->rules.duration_ms)
		warm->rules = *rules;
	warm->known = true;
}

__u16 reconcile_warm_new(struct reconcile *r, __u32 row, __u16 flags, bool joins)
{
	r->warm[row].begun_ns = 0;
	r->warm[row].armed = false;
	if (!r->warm[row].rules.duration_ms || !joins)
		return flags;
	arm(r, row);
	if (!(flags & RECONCILE_OUT))
		begin(&r->warm[row], 0);
	return flags | SL_REPLICA_WARMING;
}

__u16 reconcile_warm_flags(struct reconcile *r, __u32 row, __u16 flags, bool *ret_begins)
{
	__u16 before = r->tables->replicas[row].config.flags;
	struct warm *warm = &r->warm[row];

	*ret_begins = false;
	if (!warm->known)
		return flags;
	if (!warm->rules.duration_ms) {
		warm->begun_ns = 0;
		return flags & ~SL_REPLICA_WARMING;
	}
	if (flags & RECONCILE_OUT) {
		arm(r, row);
		return flags | SL_REPLICA_WARMING;
	}
	if (!(before & RECONCILE_OUT))
		return flags;
	arm(r, row);
	begin(warm, 0);
	*ret_begins = true;
	return flags | SL_REPLICA_WARMING;
}

const char *reconcile_warm_text(const struct reconcile *r, __u32 row, char *buf, size_t len)
{
	snprintf(buf, len, "slow start of %g s", r->warm[row].rules.duration_ms / 1000.0);
	return buf;
}

/* Ejections come and go in the kernel: seen here. */
static bool is_out(const struct reconcile *r, __u32 row)
{
	enum sl_replica_state state =
		maps_replica_state(&r->tables->replicas[row], r->tables->kernel->now);

	return state == SL_STATE_EJECTED || state == SL_STATE_DOWN;
}

static void turn(struct reconcile *r, __u32 row, uint64_t now_ns)
{
	const struct sl_replica_config *config = &r->tables->replicas[row].config;
	struct warm *warm = &r->warm[row];
	uint64_t duration_ns = warm->rules.duration_ms * NS_PER_MS;
	bool returned = warm->armed;
	char text[64];

	if (is_out(r, row)) {
		arm(r, row);
		reconcile_set_flags(r, row, config->flags | SL_REPLICA_WARMING, "");
		return;
	}
	if (!(config->flags & SL_REPLICA_WARMING))
		return;
	if (!warm->begun_ns) { /* back from an ejection, or an earlier agent's */
		begin(warm, config->warming);
		if (returned)
			reconcile_state_event(r, row, reconcile_warm_text(r, row, text, sizeof(text)));
	}
	if (now_ns >= warm->begun_ns + duration_ns)
		reconcile_set_flags(r, row, config->flags & ~SL_REPLICA_WARMING,
				    "slow start is over");
	else
		set_share(r, row, warmup_share(&warm->rules,
					       now_ns > warm->begun_ns
						       ? (now_ns - warm->begun_ns) / NS_PER_MS
						       : 0));
}

bool reconcile_warm(struct reconcile *r)
{
	uint64_t now_ns = reconcile_now_ns();
	bool any = false;

	for (__u32 row = 0; row < r->replicas.n; row++) {
		if (!r->replicas.row[row].used || !r->warm[row].rules.duration_ms)
			continue;
		any = true;
		turn(r, row, now_ns);
	}
	return any;
}
