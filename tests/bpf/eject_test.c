// SPDX-License-Identifier: GPL-2.0-only
/*
 * Outlier detection in the kernel: which failures reach a threshold, and whether that ejects. What
 * ejections mean to picks, and how they end, is ejection_test.c's.
 */
#include <string.h>

#include "bpf_fixture.h"
#include "check.h"
#include "eject_case.h"

/* ---- thresholds ----------------------------------------------------------------------*/

/* What happens to a replica in a row, one letter each: r refused, u unanswered, 5 HTTP 500, g HTTP
 * 503, o a good answer, a SYN-ACK; each failure from a client of its own. */
static void happen(struct fixture *f, const char *what)
{
	static __u32 client;

	for (; *what; what++) {
		switch (*what) {
		case 'r':
			eject_fail(f, 0, 0, ++client, FAILURE_REFUSED);
			break;
		case 'u':
			eject_fail(f, 0, 0, ++client, FAILURE_UNANSWERED);
			break;
		case '5':
			eject_fail(f, 0, 0, ++client, FAILURE_5XX);
			break;
		case 'g':
			eject_fail(f, 0, 0, ++client, FAILURE_GATEWAY);
			break;
		default:
			fixture_eject(f, SL_EJECT_OP_SUCCESS, 0, 0, *what == 'a', 0);
		}
	}
	fixture_tick(f);
}

struct row {
	const char *happened;
	unsigned http, gateway, local; /* thresholds */
	bool split;
	enum sl_eject_cause cause;     /* SL_EJECT_NONE: it stays */
};

static const struct row rows[] = {
	{"5555", 5, 0, 0, false, SL_EJECT_NONE},
	{"55555", 5, 0, 0, false, SL_EJECT_5XX},
	{"5555o5", 5, 0, 0, false, SL_EJECT_NONE},
	{"ggggg", 5, 0, 0, false, SL_EJECT_5XX},
	{"ggg", 5, 3, 0, false, SL_EJECT_GATEWAY},
	{"gg5g", 5, 3, 0, false, SL_EJECT_NONE}, /* a 500 is no gateway error: another row begins */
	{"gg5gg", 5, 3, 0, false, SL_EJECT_5XX},
	{"ggog", 5, 3, 0, false, SL_EJECT_NONE},
	{"55555", 0, 5, 0, false, SL_EJECT_NONE},
	{"55555ggggrrrrr", 0, 0, 5, false, SL_EJECT_NONE}, /* only with split */

	/* connects count as both */
	{"rrrr", 5, 0, 0, false, SL_EJECT_NONE},
	{"rurur", 5, 0, 0, false, SL_EJECT_CONNECT},
	{"rrr", 5, 3, 0, false, SL_EJECT_CONNECT},
	{"rrrrar", 5, 0, 0, false, SL_EJECT_NONE},
	{"rrrror", 5, 0, 0, false, SL_EJECT_NONE},
	{"gr5rg", 5, 0, 0, false, SL_EJECT_5XX},
	{"grr", 5, 3, 0, false, SL_EJECT_CONNECT},

	/* an accepted connection says nothing about statuses, and ends what connects added */
	{"a5a5a5a5a5", 5, 0, 0, false, SL_EJECT_5XX},
	{"agagag", 5, 3, 0, false, SL_EJECT_GATEWAY},
	{"5r5rar5", 5, 0, 0, false, SL_EJECT_NONE},
	{"55rr5", 5, 0, 0, false, SL_EJECT_5XX},

	/* apart */
	{"rrrrr", 5, 5, 0, true, SL_EJECT_NONE},
	{"rrrrr", 5, 5, 5, true, SL_EJECT_CONNECT},
	{"rr5rr5r", 5, 5, 5, true, SL_EJECT_CONNECT},
	{"5r5r5r5", 5, 5, 5, true, SL_EJECT_NONE},
	{"rrrror", 9, 9, 5, true, SL_EJECT_CONNECT}, /* an answer by an old connection */
	{"rrrrar", 9, 9, 5, true, SL_EJECT_NONE},
	{"5555a5", 5, 5, 5, true, SL_EJECT_5XX},
};

static bool is_as_expected(struct fixture *f, const struct row *row)
{
	const struct sl_replica_state_row *state = &f->replicas[0].state;
	unsigned ejections = row->cause != SL_EJECT_NONE;

	return state->ejections == ejections && state->ejected_times == ejections &&
	       state->ejected_for == row->cause && !!state->ejected_until == ejections &&
	       fixture_counter(f, SL_COUNT_EJECTIONS) == ejections;
}

static void threshold(struct fixture *f, const struct row *row)
{
	eject_case(f, 4);
	f->services[0].eject_5xx = row->http;
	f->services[0].eject_gateway = row->gateway;
	f->services[0].eject_local = row->local;
	f->services[0].flags |= row->split ? SL_SERVICE_SPLIT : 0;
	happen(f, row->happened);
	if (!is_as_expected(f, row))
		printf("  %s%s: %u ejections, cause %u\n", row->happened,
		       row->split ? ", split" : "", f->replicas[0].state.ejections,
		       f->replicas[0].state.ejected_for);
	CHECK(is_as_expected(f, row));
}

static const struct row *current;

static void one_threshold(struct fixture *f)
{
	threshold(f, current);
}

TEST(failures_in_a_row_reach_thresholds)
{
	for (current = rows; current < rows + sizeof(rows) / sizeof(rows[0]); current++)
		fixture_once(one_threshold, NULL);
}

static void begins_anew(struct fixture *f)
{
	eject_case(f, 4);
	happen(f, "55555");
	CHECK_INT(f->replicas[0].state.ejections, 1);
	happen(f, "5555555"); /* open flows of an ejected replica */
	CHECK_INT(f->replicas[0].state.ejections, 1);
	CHECK(eject_is_out(f, 0));
	eject_pass(f, 0, f->services[0].base_ejection_ticks);
	fixture_sweep(f);
	CHECK(!eject_is_out(f, 0));
	CHECK_INT(f->replicas[0].state.ejected_until, 0);
	happen(f, "5555");
	CHECK_INT(f->replicas[0].state.ejections, 1);
	happen(f, "5");
	CHECK_INT(f->replicas[0].state.ejections, 2);
}

TEST(after_an_ejection_counts_begin_anew)
{
	fixture_once(begins_anew, NULL);
}

static void tallies(struct fixture *f)
{
	const struct sl_outlier *outlier = &f->outliers[0];

	eject_case(f, 4);
	f->services[0].eject_5xx = 0; /* off: they are counted all the same */
	happen(f, "rruga5oa");
	CHECK_INT(outlier->refused, 2);
	CHECK_INT(outlier->unanswered, 1);
	CHECK_INT(outlier->connects, 2);
	CHECK_INT(outlier->answers, 3);
	CHECK_INT(outlier->answers_5xx, 2);
	CHECK_INT(f->replicas[0].state.connect_failures, 3);
	CHECK_INT(fixture_counter(f, SL_COUNT_CONNECT_FAILURES), 3);
	CHECK_INT(fixture_counter(f, SL_COUNT_ANSWERS_5XX), 2);
	CHECK(outlier->last_success && outlier->last_failure);
	CHECK_INT(f->replicas[0].state.ejections, 0);
}

TEST(what_a_replica_did_is_counted_without_outlier_detection)
{
	fixture_once(tallies, NULL);
}

/* ---- who saw it ---------------------------------------------------------------------------*/

static void fail_five(struct fixture *f, __u32 client, __u32 other)
{
	for (unsigned i = 0; i < 5; i++)
		eject_fail(f, 0, 0, i == 2 ? other : client, FAILURE_REFUSED);
	fixture_tick(f);
}

static void one_client(struct fixture *f)
{
	eject_case(f, 4);
	eject_vouch(f, 0);
	fail_five(f, 77, 77);
	CHECK_INT(f->replicas[0].state.ejections, 0);
	CHECK(!eject_is_out(f, 0));
	CHECK_STR(eject_event(f, SL_EVENT_EJECT_SPARED)->text,
		  "5 of 5 connects failed: one client's, its probe is good");
	CHECK_INT(eject_event(f, SL_EVENT_EJECT_SPARED)->value, 5);
	fail_five(f, 77, 77); /* another event within the second would be noise */
	CHECK_INT(f->event_head->last, 1);
	CHECK_INT(f->replicas[0].state.ejections, 0);
	fail_five(f, 78, 78); /* another one: now two saw it fail, and nobody anything else */
	CHECK_INT(f->replicas[0].state.ejections, 1);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT)->text,
		  "5 of 5 connects failed, 2 or more clients; for 30 s");
}

TEST(one_client_alone_ejects_nobody_whom_a_probe_vouches_for)
{
	fixture_once(one_client, NULL);
}

static void forgotten(struct fixture *f)
{
	eject_case(f, 4);
	eject_vouch(f, 0);
	eject_fail(f, 0, 0, 78, FAILURE_REFUSED);
	fixture_eject(f, SL_EJECT_OP_SUCCESS, 0, 0, 1, 0);
	CHECK_INT(f->outliers[0].witnesses, 0);
	fail_five(f, 77, 77);
	CHECK_INT(f->replicas[0].state.ejections, 0);
	/* but a SYN-ACK does not forget who got a 503 */
	f->outliers[0] = (struct sl_outlier){};
	eject_fail(f, 0, 0, 78, FAILURE_GATEWAY);
	fixture_eject(f, SL_EJECT_OP_SUCCESS, 0, 0, 1, 0);
	CHECK_INT(f->outliers[0].witnesses, 1);
	for (unsigned i = 0; i < 4; i++)
		eject_fail(f, 0, 0, 77, FAILURE_GATEWAY);
	fixture_tick(f);
	CHECK_INT(f->replicas[0].state.ejections, 1);
	CHECK_INT(f->replicas[0].state.ejected_for, SL_EJECT_5XX);
}

TEST(witnesses_are_forgotten_by_what_succeeds)
{
	fixture_once(forgotten, NULL);
}

/* Each of these takes the probe's word away. */
static void unvouched(struct fixture *f)
{
	for (unsigned how = 0; how < 4; how++) {
		struct sl_replica_config *config = &f->replicas[how].config;

		if (!how)
			eject_case(f, 4);
		f->services[0].max_ejection_percent = 100;
		eject_vouch(f, how);
		if (how == 0)
			config->probe_good -= EJECT_STALE + 1; /* older than two intervals */
		else if (how == 1)
			config->probe_good = 0; /* never */
		else if (how == 2)
			config->probe_stale_ticks = 0; /* not probed */
		else
			f->control->heartbeat_ns -= 3100000000ull;
		for (unsigned i = 0; i < 5; i++)
			eject_fail(f, 0, how, 77, FAILURE_UNANSWERED);
		fixture_tick(f);
		CHECK_INT(f->replicas[how].state.ejections, 1);
		CHECK_STR(eject_event(f, SL_EVENT_EJECT)->text,
			  "5 of 5 connects failed, 1 client, no good probe; for 30 s");
	}
}

TEST(one_client_is_believed_where_no_probe_vouches)
{
	fixture_once(unvouched, NULL);
}

/* ---- what else keeps it in -----------------------------------------------------------------*/

static void frozen(struct fixture *f)
{
	eject_case(f, 4);
	fixture_tick(f);
	f->control->frozen_until = f->kernel->now + 60 * FIXTURE_HZ;
	happen(f, "55555");
	CHECK_INT(f->replicas[0].state.ejections, 0);
	CHECK_STR(eject_event(f, SL_EVENT_EJECT_SPARED)->text,
		  "5 of 5 answers were 5xx: ejections are frozen");
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, 0, 1, SL_EJECT_RATE, 420), 0);
	f->control->frozen_until = f->kernel->now - 1;
	happen(f, "55555");
	CHECK_INT(f->replicas[0].state.ejections, 1);
}

TEST(nothing_is_ejected_while_ejections_are_frozen)
{
	fixture_once(frozen, NULL);
}

/* How many of `n` replicas go when all of them fail, at `percent`. */
static unsigned how_many_go(struct fixture *f, unsigned n, unsigned percent)
{
	unsigned out = 0;

	eject_case(f, 0);
	eject_members(f, 0, n);
	f->services[0].max_ejection_percent = percent;
	for (unsigned i = 0; i < n; i++)
		fixture_eject(f, SL_EJECT_OP_EJECT, 0, i, SL_EJECT_RATE, 420);
	for (unsigned i = 0; i < n; i++)
		out += eject_is_out(f, i);
	CHECK_INT(out, fixture_counter(f, SL_COUNT_EJECTIONS));
	return out;
}

static const struct share {
	unsigned n, percent, go;
} shares[] = {
	{10, 10, 1}, {10, 29, 2}, {10, 30, 3}, {20, 10, 2}, {10, 100, 10}, {1000, 3, 30},
	{4, 10, 1}, /* one of several may always go */
	{2, 0, 1},
	{1, 10, 0}, /* but not the only one */
	{1, 100, 1}, /* unless that is asked for */
};

static const struct share *share;

static void one_share(struct fixture *f)
{
	CHECK_INT(how_many_go(f, share->n, share->percent), share->go);
	if (share->go < share->n)
		CHECK_STR(eject_event(f, SL_EVENT_EJECT_SPARED)->text,
			  "success rate 42.0%: enough are ejected");
}

TEST(no_more_go_than_max_ejection_percent)
{
	for (share = shares; share < shares + sizeof(shares) / sizeof(shares[0]); share++)
		fixture_once(one_share, NULL);
}

static void room_again(struct fixture *f)
{
	eject_case(f, 4);
	fixture_eject(f, SL_EJECT_OP_EJECT, 0, 1, SL_EJECT_RATE, 420);
	fixture_eject(f, SL_EJECT_OP_EJECT, 0, 2, SL_EJECT_RATE, 420);
	CHECK(eject_is_out(f, 1) && !eject_is_out(f, 2));
	CHECK_INT(f->replicas[2].state.ejected_until, 0); /* what was tried left nothing behind */
	CHECK_INT(f->replicas[2].state.ejected_times, 0);
	eject_pass(f, 1, f->services[0].base_ejection_ticks + 1);
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, 0, 2, SL_EJECT_RATE, 420), 1);
}

TEST(one_whose_time_is_over_makes_room_before_any_sweep)
{
	fixture_once(room_again, NULL);
}

/* r2 is behind both services: the second has ten, and lets one go. */
static void shared(struct fixture *f)
{
	__u32 second;

	eject_case(f, 2);
	f->services[0].max_ejection_percent = 100;
	second = fixture_add_service(f, 0);
	fixture_add_replica(f, second, "r2:8000", 100);
	eject_members(f, second, 9);
	f->services[second].eject_5xx = 5;
	f->services[second].max_ejection_percent = 10;
	f->services[second].base_ejection_ticks = 30 * FIXTURE_HZ;
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, second, 5, SL_EJECT_RATE, 420), 1);
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, 0, 1, SL_EJECT_RATE, 420), 0);
	CHECK_INT(f->replicas[1].state.ejected_until, 0);
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, 0, 0, SL_EJECT_RATE, 420), 1);
	f->services[second].eject_5xx = 0; /* no outlier detection: it picks whom it likes */
	CHECK_INT(fixture_eject(f, SL_EJECT_OP_EJECT, 0, 1, SL_EJECT_RATE, 420), 1);
}

TEST(a_shared_replica_goes_only_if_all_its_services_can_spare_it)
{
	fixture_once(shared, NULL);
}

/* ---- events ----------------------------------------------------------------------------------*/

static void event(struct fixture *f)
{
	const struct sl_event *event;
	__u64 ejections;

	eject_case(f, 4);
	ejections = f->event_head->kinds[SL_EVENT_EJECT];
	f->services[0].epoch = 99;
	f->control->realtime_offset_ns = 5000000000000000000ull;
	f->event_head->last = 3 * FIXTURE_EVENTS - 1;
	happen(f, "ggggg");
	CHECK_INT(f->event_head->last, 3 * FIXTURE_EVENTS);
	CHECK_INT(f->event_head->kinds[SL_EVENT_EJECT], ejections + 1);
	event = &f->events[0];
	CHECK_INT(event->seq, 3 * FIXTURE_EVENTS);
	CHECK_INT(event->kind, SL_EVENT_EJECT);
	CHECK_INT(event->service, 1);
	CHECK_INT(event->epoch, 99);
	CHECK_INT(event->value, 30);
	CHECK_INT(event->port, f->replicas[0].config.port);
	CHECK(!memcmp(&event->addr, &f->replicas[0].config.addr, sizeof(event->addr)));
	CHECK(event->time_ns > 5000000000000000000ull);
	CHECK_STR(event->text, "5 of 5 answers were 5xx, 2 or more clients; for 30 s");
	for (size_t i = strlen(event->text); i < sizeof(event->text); i++)
		CHECK_INT(event->text[i], 0);
}

TEST(an_ejection_is_written_into_the_ring)
{
	fixture_each(event, NULL);
}
