// SPDX-License-Identifier: GPL-2.0-only
/*
 * Owns the queue and its order: hard evidence first, then whoever came first, second askings last;
 * one slice a turn of the loop. Gives up what its caller says holds no longer. Refuses to
 * know the kernel: reset_run.c does. Called by
 * agent_failure.c.
 */
#include "reset.h"

#include <errno.h>
#include <stdlib.h>

#define SLICE_FLOWS 64u /* of one run: packets are sent and received again within a millisecond */
#define WAIT_MS 50u     /* for a budget or a thaw */

/* When a pass begins, after the end of the one before: soon for those whose probe was lost on the way;
 * later for those who hold theirs back, since Linux answers but once in 500 ms. */
static const unsigned again_ms[RESET_PASSES] = {0, 80, 600, 600};

struct entry {
	struct reset_request request;
	struct sl_reset job;
	uint64_t due_ms;    /* not before */
	struct entry *next; /* the later one */
};

struct budget {
	uint32_t second;
	uint32_t used;
};

struct reset {
	const struct reset_ops *ops;
	void *context;
	uv_idle_t turn;   /* while there is something to do now */
	uv_timer_t alarm; /* else: when there will be */
	unsigned open_handles;
	__u32 flow_slots;
	struct entry *first;
	struct budget budgets[SL_MAX_SERVICES];
};

static uint64_t now_ms(void)
{
	return uv_hrtime() / 1000000;
}

/* ---- the budget ------------------------------------------------------------------------*/

static struct budget *budget_of(struct reset *reset, __u32 service)
{
	struct budget *budget = &reset->budgets[service % SL_MAX_SERVICES];
	uint32_t second = now_ms() / 1000;

	if (budget->second != second)
		*budget = (struct budget){.second = second};
	return budget;
}

/* How many flows a request may have reset now. */
static __u32 budget_left(struct reset *reset, const struct reset_request *request)
{
	__u32 left = SLICE_FLOWS;

	for (__u32 i = 0; request->soft && i < request->n_services; i++) {
		const struct budget *budget = budget_of(reset, request->services[i]);
		__u32 here = budget->used < RESET_BUDGET ? RESET_BUDGET - budget->used : 0;

		left = here < left ? here : left;
	}
	return left;
}

static void budget_use(struct reset *reset, const struct reset_request *request, __u32 flows)
{
	for (__u32 i = 0; request->soft && i < request->n_services; i++)
		budget_of(reset, request->services[i])->used += flows;
}

/* ---- the queue -----------------------------------------------------------------------------*/

static void on_turn(uv_idle_t *turn);
static void on_alarm(uv_timer_t *alarm);

static void wake(struct reset *reset)
{
	uv_timer_stop(&reset->alarm);
	uv_idle_start(&reset->turn, on_turn);
}

static struct entry **find(struct reset *reset, __u32 replica)
{
	struct entry **at = &reset->first;

	while (*at && (*at)->request.replica != replica)
		at = &(*at)->next;
	return at;
}

static void drop(struct entry **at)
{
	struct entry *entry = *at;

	*at = entry->next;
	free(entry);
}

int reset_ask(struct reset *reset, const struct reset_request *request)
{
	struct entry **at = find(reset, request->replica), *entry = *at;

	if (entry && !entry->job.pass) { /* under way: it goes on, now perhaps on hard evidence */
		entry->request.soft &= request->soft;
		return 0;
	}
	if (!entry) {
		entry = calloc(1, sizeof(*entry));
		if (!entry)
			return -ENOMEM;
		*at = entry; /* the last one */
	}
	entry->request = *request;
	entry->job = (struct sl_reset){.replica = request->replica};
	entry->due_ms = 0;
	wake(reset);
	return 0;
}

/* Gives an entry up; what it has done so far is told. Marked flows stay marked. */
static void give_up(struct reset *reset, struct entry **at)
{
	const struct entry *entry = *at;

	if (!entry->job.pass && entry->job.reset)
		reset->ops->done(reset->context, &entry->request, entry->job.reset, 0);
	drop(at);
}

void reset_cancel(struct reset *reset, __u32 replica)
{
	struct entry **at = find(reset, replica);

	if (*at)
		give_up(reset, at);
}

/* Gives up what holds no longer. */
static void sift(struct reset *reset)
{
	struct entry **at = &reset->first;

	while (*at) {
		if (reset->ops->holds &&
		    !reset->ops->holds(reset->context, &(*at)->request, !(*at)->job.pass))
			give_up(reset, at);
		else
			at = &(*at)->next;
	}
}

unsigned reset_void(struct reset *reset)
{
	struct entry **at = &reset->first;
	unsigned n = 0;

	while (*at) {
		if ((*at)->request.soft && !(*at)->job.pass) {
			give_up(reset, at);
			n++;
		} else {
			at = &(*at)->next;
		}
	}
	return n;
}

unsigned reset_pending(const struct reset *reset)
{
	unsigned n = 0;

	for (const struct entry *entry = reset->first; entry; entry = entry->next)
		n += !entry->job.pass;
	return n;
}

/* ---- the work ----------------------------------------------------------------------------*/

static int urgency(const struct entry *entry)
{
	return entry->job.pass ? 0 : entry->request.soft ? 1 : 2;
}

/* The most urgent entry that may go on now; NULL: none. *ret_wait_ms: when the next one may. */
static struct entry *choose(struct reset *reset, uint64_t now, uint64_t *ret_wait_ms)
{
	struct entry *best = NULL;

	*ret_wait_ms = UINT64_MAX;
	for (struct entry *entry = reset->first; entry; entry = entry->next) {
		uint64_t wait_ms = entry->due_ms > now ? entry->due_ms - now : 0;

		if (!wait_ms && !entry->job.pass && !budget_left(reset, &entry->request))
			wait_ms = WAIT_MS;
		if (wait_ms && wait_ms < *ret_wait_ms)
			*ret_wait_ms = wait_ms;
		if (!wait_ms && (!best || urgency(entry) > urgency(best)))
			best = entry;
	}
	return best;
}

/* A pass is over: the next one, later, unless nobody is left to be asked. */
static void pass_over(struct reset *reset, struct entry *entry, uint64_t now, int error)
{
	__u32 flows = entry->job.reset;

	if (!entry->job.pass)
		reset->ops->done(reset->context, &entry->request, flows, error);
	if (error || !flows || ++entry->job.pass == RESET_PASSES) {
		drop(find(reset, entry->request.replica));
		return;
	}
	entry->job.slot = 0;
	entry->due_ms = now + again_ms[entry->job.pass];
}

static void go_on(struct reset *reset, struct entry *entry, uint64_t now)
{
	__u32 before = entry->job.reset;
	int error;

	entry->job.max = entry->job.pass ? SLICE_FLOWS : budget_left(reset, &entry->request);
	error = reset->ops->run(reset->context, &entry->job);
	budget_use(reset, &entry->request, entry->job.reset - before);
	if (error || entry->job.slot >= reset->flow_slots)
		pass_over(reset, entry, now, error);
}

static void on_turn(uv_idle_t *turn)
{
	struct reset *reset = turn->data;
	uint64_t now = now_ms(), wait_ms = WAIT_MS;
	struct entry *entry = NULL;

	sift(reset);
	if (!reset->ops->is_frozen(reset->context))
		entry = choose(reset, now, &wait_ms);
	if (entry) {
		go_on(reset, entry, now);
		return;
	}
	uv_idle_stop(turn);
	if (reset->first)
		uv_timer_start(&reset->alarm, on_alarm, wait_ms, 0);
}

static void on_alarm(uv_timer_t *alarm)
{
	wake(alarm->data);
}

/* ---- new and free --------------------------------------------------------------------------*/

int reset_new(uv_loop_t *loop, const struct reset_ops *ops, void *context, __u32 flow_slots,
	      struct reset **ret)
{
	struct reset *reset = calloc(1, sizeof(*reset));

	if (!reset)
		return -ENOMEM;
	reset->ops = ops;
	reset->context = context;
	reset->flow_slots = flow_slots;
	reset->open_handles = 2;
	uv_idle_init(loop, &reset->turn); /* these two never fail */
	uv_timer_init(loop, &reset->alarm);
	reset->turn.data = reset->alarm.data = reset;
	*ret = reset;
	return 0;
}

static void on_closed(uv_handle_t *handle)
{
	struct reset *reset = handle->data;

	if (!--reset->open_handles)
		free(reset);
}

void reset_free(struct reset *reset)
{
	if (!reset)
		return;
	while (reset->first)
		drop(&reset->first);
	uv_close((uv_handle_t *)&reset->turn, on_closed);
	uv_close((uv_handle_t *)&reset->alarm, on_closed);
}
