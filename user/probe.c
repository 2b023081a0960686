// SPDX-License-Identifier: GPL-2.0-only
/*
 * The set of replicas under probe. Owns the list and its comparison with what
 * is wanted; when and how each is asked is for probe_run.c and the protocols.
 * Refuses to know why a replica is probed and what its health leads to. Called
 * by the agent.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <unistd.h>

#include "addr.h"
#include "probe_conn.h"
#include "probe_set.h"

const unsigned probe_latency_bounds_us[PROBE_LATENCY_BUCKETS] = {
	100, 250, 500, 1000, 2500, 10000, 50000, 100000, 500000, 1000000};

static void on_tick(uv_timer_t *timer)
{
	probe_run_tick(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	probe_run_drain(poll->data);
}

static void on_closed(uv_handle_t *handle)
{
	struct probe_set *set = handle->data;

	if (--set->open_handles)
		return;
	close(set->epoll_fd);
	free(set);
}

/* 0, or -errno with nothing left open. */
static int set_open(struct probe_set *set, uv_loop_t *loop)
{
	int err;

	set->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (set->epoll_fd < 0)
		return -errno;
	err = uv_poll_init(loop, &set->poll, set->epoll_fd);
	if (err) {
		close(set->epoll_fd);
		return err;
	}
	uv_timer_init(loop, &set->tick); /* never fails */
	set->open_handles = 2;
	set->poll.data = set->tick.data = set;
	return 0;
}

int probe_set_new(uv_loop_t *loop, probe_change_fn *fn, void *context, struct probe_set **ret)
{
	struct probe_set *set = calloc(1, sizeof(*set));
	int err;

	if (!set)
		return -ENOMEM;
	set->fn = fn;
	set->context = context;
	if (getrandom(&set->random, sizeof(set->random), 0) < 0 || !set->random)
		set->random = uv_hrtime() | 1;
	probe_clock_init(&set->clock, uv_hrtime());
	err = set_open(set, loop);
	if (err) {
		free(set);
		return err;
	}
	err = uv_poll_start(&set->poll, UV_READABLE, on_ready);
	if (err) {
		probe_set_free(set);
		return err;
	}
	*ret = set;
	return 0;
}

void probe_set_on_good(struct probe_set *set, probe_good_fn *fn)
{
	set->good = fn;
}

void probe_set_ask_full(struct probe_set *set, probe_full_fn *fn)
{
	set->full = fn;
}

static void replica_free(struct probe_replica *replica)
{
	if (!replica)
		return;
	probe_run_stop(replica);
	probe_conn_close(replica->idle);
	probe_spec_unref(replica->spec);
	free(replica);
}

void probe_set_free(struct probe_set *set)
{
	if (!set)
		return;
	for (size_t i = 0; i < set->n_rows; i++)
		replica_free(set->rows[i]);
	free(set->rows);
	probe_https_free(set->https);
	uv_close((uv_handle_t *)&set->tick, on_closed);
	uv_close((uv_handle_t *)&set->poll, on_closed);
}

/* The spec for `probe`, a reference of the caller's. Replicas of a service are asked the same, one
 * after the other: looking at the last one finds nearly all there is to share. */
static struct probe_spec *spec_get(struct probe_spec **last, const struct model_probe *probe)
{
	if (!*last || !model_probe_equal(&(*last)->asked, probe)) {
		struct probe_spec *spec = probe_spec_new(probe);

		if (!spec)
			return NULL;
		probe_spec_unref(*last);
		*last = spec;
	}
	(*last)->refs++;
	return *last;
}

/* Asks by `spec` from now on; the reference passes to the replica. */
static void replica_ask(struct probe_replica *replica, struct probe_spec *spec)
{
	if (replica->spec) {
		probe_run_stop(replica);
		probe_conn_close(replica->idle);
		replica->idle = NULL;
		probe_spec_unref(replica->spec);
	}
	replica->spec = spec;
	if (spec->protocol)
		probe_run_start(replica);
	else if (probe_health_trust(&replica->judge))
		replica->set->fn(replica->set->context, replica->row, &replica->judge.health, false,
				 spec->title);
}

static int rows_grow(struct probe_set *set, size_t n)
{
	struct probe_replica **rows;

	if (n <= set->n_rows)
		return 0;
	n = n + n / 4;
	rows = realloc(set->rows, n * sizeof(*rows));
	if (!rows)
		return -ENOMEM;
	for (size_t i = set->n_rows; i < n; i++)
		rows[i] = NULL;
	set->rows = rows;
	set->n_rows = n;
	return 0;
}

static struct probe_replica *replica_new(struct probe_set *set, const struct probe_target *target)
{
	struct probe_replica *replica = calloc(1, sizeof(*replica));

	if (!replica)
		return NULL;
	replica->set = set;
	replica->addr = target->addr;
	replica->row = target->replica;
	return replica;
}

static int sync_one(struct probe_set *set, const struct probe_target *target,
		    struct probe_spec **last)
{
	struct probe_replica **slot, *replica;
	struct probe_spec *spec;

	if (rows_grow(set, (size_t)target->replica + 1))
		return -ENOMEM;
	slot = &set->rows[target->replica];
	replica = *slot;
	if (replica && addr_equal(&replica->addr, &target->addr) &&
	    model_probe_equal(&replica->spec->asked, target->probe)) {
		replica->epoch = set->epoch;
		return 0;
	}
	spec = spec_get(last, target->probe);
	if (!spec)
		return -ENOMEM;
	if (!replica || !addr_equal(&replica->addr, &target->addr)) {
		replica = replica_new(set, target);
		if (!replica) {
			probe_spec_unref(spec);
			return -ENOMEM;
		}
		replica_free(*slot);
		*slot = replica;
	}
	replica->epoch = set->epoch;
	replica_ask(replica, spec);
	return 0;
}

/* Starts the clock with the first replica that is asked, stops it with the last. */
static void sync_clock(struct probe_set *set)
{
	bool needed = false;

	for (size_t i = 0; i < set->n_rows && !needed; i++)
		needed = set->rows[i] && set->rows[i]->spec->protocol;
	if (!needed)
		uv_timer_stop(&set->tick);
	if (!needed || uv_is_active((uv_handle_t *)&set->tick))
		return;
	set->clock.seen_ns = uv_hrtime(); /* nothing was lost while nobody was asked */
	uv_timer_start(&set->tick, on_tick, PROBE_TICK_MS, PROBE_TICK_MS);
}

int probe_set_sync(struct probe_set *set, const struct probe_target *targets, size_t n)
{
	struct probe_spec *last = NULL;
	int err = 0;

	set->epoch++;
	for (size_t i = 0; i < n && !err; i++)
		err = sync_one(set, &targets[i], &last);
	probe_spec_unref(last);
	/* Half a list does not say who is missing. */
	for (size_t i = 0; i < set->n_rows && !err; i++) {
		if (set->rows[i] && set->rows[i]->epoch != set->epoch) {
			replica_free(set->rows[i]);
			set->rows[i] = NULL;
		}
	}
	sync_clock(set);
	return err;
}

static const struct probe_replica *replica_find(const struct probe_set *set, __u32 row)
{
	return row < set->n_rows ? set->rows[row] : NULL;
}

const struct probe_health *probe_set_health(const struct probe_set *set, __u32 row)
{
	const struct probe_replica *replica = replica_find(set, row);

	return replica ? &replica->judge.health : NULL;
}

uint64_t probe_set_lost_ns(const struct probe_set *set)
{
	return uv_is_active((const uv_handle_t *)&set->tick) ?
		       probe_clock_lost(&set->clock, uv_hrtime()) : set->clock.lost_ns;
}

bool probe_set_fail(struct probe_set *set, __u32 row, const char *evidence)
{
	const struct probe_replica *replica = replica_find(set, row);

	if (!replica || !replica->spec->protocol)
		return false;
	probe_run_fail(set->rows[row], evidence);
	return true;
}

const struct probe_histogram *probe_set_histogram(const struct probe_set *set, __u32 row)
{
	const struct probe_replica *replica = replica_find(set, row);

	return replica ? &replica->histogram : NULL;
}
