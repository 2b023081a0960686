// SPDX-License-Identifier: GPL-2.0-only
/*
 * The waiting line: who waits, who is offered to replicas and when, in which order, and who leaves.
 */
#include "line_case.h"

/* ---- in and out --------------------------------------------------------------------------*/

static void one(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	check_parked(f, 1, 0);
	CHECK_INT(f->service_states[0].parked_total, 1);
	CHECK_INT(f->kernel->half_open, 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 0);
	parks(f, SYN("4000")); /* again */
	CHECK_INT(fixture_drops(f, SL_DROP_PARKED), 2);
	CHECK_INT(f->service_states[0].parked_total, 1);
	look(f);
	call(f, 0); /* no room: nobody is bothered */

	f->replicas[0].state.owned = 0;
	look(f);
	call(f, 4000);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	check_parked(f, 1, 1);
	CHECK_INT(f->replicas[0].state.inflight, 1);
	CHECK_INT(f->replicas[0].state.picks, 0); /* before it is accepted */
	sends(f, TO_POD, ANSWER("r1", "4000"), NEXT, VIP_ANSWER("4000"));
	check_parked(f, 0, 0);
	CHECK_INT(f->replicas[0].state.picks, 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 1);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 0);
	sends(f, FROM_POD, "client:4000 > vip:80 A seq 8 ack 101 len 0", NEXT,
	      "client:4000 > r1:8000 A seq 8 ack 101 len 0");
	sends(f, FROM_POD, "client:4000 > vip:80 R seq 8 len 0", NEXT,
	      "client:4000 > r1:8000 R seq 8 len 0");
	check_clean(f);
}

TEST(a_syn_waits_until_there_is_room)
{
	fixture_each(one, NULL);
}

static void snat(struct fixture *f)
{
	__u32 source = fixture_add_source(f, "node");

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	fixture_make_remote(f, 0, source);
	f->replicas[0].state.owned = 0; /* of another node's, and not seen from here */
	sends(f, FROM_UPLINK, SYN("4000"), REDIRECT, "node:1024 > r1:8000 S seq 7 len 0 opts 20");
	sends(f, FROM_FABRIC, "r1:8000 > node:1024 RA seq 0 ack 8 len 0 win 20942", TRIMMED,
	      SYN("4000"));
	sends(f, FROM_UPLINK, SYN("4000"), SHOT, NULL);
	check_parked(f, 1, 0);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), 0);
	CHECK_INT(f->replicas[0].state.inflight, 0);
	look(f);
	call(f, 4000);
	sends(f, FROM_UPLINK, SYN("4000"), REDIRECT, "node:1025 > r1:8000 S seq 7 len 0 opts 20");
	sends(f, FROM_FABRIC, "r1:8000 > node:1025 SA seq 100 ack 8 len 0 opts 20", REDIRECT,
	      VIP_ANSWER("4000"));
	sends(f, FROM_UPLINK, "client:4000 > vip:80 R seq 8 len 0", REDIRECT,
	      "node:1025 > r1:8000 R seq 8 len 0");
	check_clean(f);
}

TEST(a_syn_waits_through_source_nat)
{
	fixture_each(snat, NULL);
}

static void none(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_NONE, 0);
	parks(f, SYN("4000"));
	look(f);
	call(f, 0);
	fixture_add_replica(f, 0, "r1:8000", 100);
	look(f);
	call(f, 4000);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	parks(f, SYN("4001")); /* behind that one, until it is accepted or refused */
	sends(f, TO_POD, "r1:8000 > client:4000 RA seq 0 ack 8 len 0", TRIMMED, SYN("4000"));
	sends(f, FROM_POD, SYN("4000"), TRIMMED, REFUSED("4000"));
	look(f);
	call(f, 4001);
	/* A replica that is there, and full: that is not what this service waits for. */
	fixture_set_cap(f, 0, 1);
	sends(f, FROM_POD, SYN("4001"), NEXT, SYN_TO("4001", "r1"));
	sends(f, TO_POD, FULL("r1", "4001"), TRIMMED, SYN("4001"));
	sends(f, FROM_POD, SYN("4001"), TRIMMED, REFUSED("4001"));
	fixture_sweep(f);
	check_clean(f);
}

TEST(the_first_replica_releases_who_waits_for_any)
{
	fixture_each(none, NULL);
}

static void impatient(struct fixture *f)
{
	line_case(f, 0, 1);
	sends(f, FROM_POD, SYN("4000"), TRIMMED, REFUSED("4000"));
	f->services[0].flags |= SL_SERVICE_WAIT_FULL;
	sends(f, FROM_POD, "client:4000 > vip:80 S seq 7 len 10 opts 20", TRIMMED,
	      "vip:80 > client:4000 RA seq 0 ack 18 len 0 back"); /* with data: never sent again */
	CHECK_INT(fixture_count_flows(f, SL_FLOW_DONE), 0);
	parks(f, SYN("4000"));
	f->services[0].flags &= ~SL_SERVICE_WAIT_FULL; /* changed its mind */
	sends(f, FROM_POD, SYN("4000"), TRIMMED, REFUSED("4000"));
	check_clean(f);
}

TEST(who_does_not_wait)
{
	fixture_each(impatient, NULL);
}

/* ---- the order ------------------------------------------------------------------------------*/

static void order(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 2);
	parks(f, SYN("4000"));
	parks(f, SYN("4001"));
	parks(f, SYN("4002"));
	sends(f, FROM_POD, SYN("4003"), TRIMMED, REFUSED("4003")); /* three may wait */
	CHECK_INT(fixture_drops(f, SL_DROP_FULL), 1);
	f->replicas[0].state.owned = 0;
	look(f);
	call(f, 4000);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	check_parked(f, 3, 1);
	sends(f, FROM_POD, SYN("4003"), TRIMMED, REFUSED("4003")); /* the first keeps its place */
	f->services[0].max_parked = 4;
	parks(f,
	      SYN("4004")); /* though r2 has room for all that this node knows: behind the others */
	f->services[0].max_parked = 3;
	f->replicas[1].state.owned = 0;
	sends(f, TO_POD, FULL("r1", "4000"), TRIMMED, SYN("4000"));
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r2"));
	sends(f, TO_POD, FULL("r2", "4000"), TRIMMED, SYN("4000"));
	parks(f, SYN("4000"));
	check_parked(f, 4, 0); /* who is in line stays, however long that is */
	CHECK_INT(f->replicas[0].state.inflight + f->replicas[1].state.inflight, 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_RETRIES), 0);

	look(f);
	call(f, 4000); /* the first is still the first */
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	beat(f);
	call(f, 0); /* one at a time */
	sends(f, TO_POD, ANSWER("r1", "4000"), NEXT, VIP_ANSWER("4000"));
	call(f, 4001); /* at once */
	sends(f, FROM_POD, SYN("4001"), NEXT, SYN_TO("4001", "r2"));
	sends(f, TO_POD, ANSWER("r2", "4001"), NEXT, VIP_ANSWER("4001"));
	call(f, 0); /* not one after the other for ever: other nodes want the same places */
	look(f);
	call(f, 0); /* both have their one */
	f->replicas[0].config.max_connections = f->replicas[1].config.max_connections = 9;
	look(f);
	call(f, 4002);
	sends(f, FROM_POD, SYN("4002"), NEXT, SYN_TO("4002", "r1"));
	sends(f, TO_POD, ANSWER("r1", "4002"), NEXT, VIP_ANSWER("4002"));
	call(f, 4004);
	check_parked(f, 1, 0);
	sends(f, FROM_POD, SYN("4004"), NEXT, SYN_TO("4004", "r1"));
	check_parked(f, 1, 1);
	CHECK_INT(f->service_states[0].parked_total, 4);
}

TEST(first_come_first_served)
{
	fixture_each(order, NULL);
}

/* Where nobody is refused, more and more follow one another. */
static void runs(struct fixture *f)
{
	char line[PACKET_TEXT_LEN];
	struct fixture_result result;
	struct sl_wakeup wakeup;
	unsigned looks = 0, port = 0;

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	f->services[0].max_parked = 100;
	for (unsigned i = 0; i < 40; i++) {
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", 4000 + i);
		parks(f, line);
	}
	f->replicas[0].config.max_connections = 100;
	for (unsigned i = 0; i < 40; i++) {
		port = called(f, &wakeup);
		if (!port) {
			look(f);
			looks++;
			port = called(f, &wakeup);
		}
		CHECK_INT(port, 4000 + i);
		CHECK_INT(inject(f, &wakeup), 0);
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, FROM_POD, line, &result);
		CHECK_INT(result.verdict, NEXT);
		snprintf(line, sizeof(line), "r1:8000 > client:%u SA seq 100 ack 8 len 0", port);
		fixture_send(f, TO_POD, line, &result);
	}
	CHECK_INT(looks, 6); /* 2, 3, 5, 9, 17, ... at a time */
	CHECK_INT(called(f, &wakeup), 0);
	check_parked(f, 0, 0);
	CHECK_INT(f->replicas[0].state.inflight, 40);
}

TEST(a_line_that_moves_moves_faster)
{
	fixture_once(runs, NULL);
}

static void lost(struct fixture *f)
{
	struct sl_wakeup wakeup;

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	f->replicas[0].state.owned = 0;
	look(f);
	CHECK_INT(called(f, &wakeup), 4000);
	f->lines[0].offered = f->kernel->now;
	beat(f);
	CHECK_INT(called(f, &wakeup), 0);
	f->lines[0].offered -= FIXTURE_HZ;
	look(f);
	call(f, 4000);
	CHECK_INT(inject(f, &wakeup), 0); /* the first was late, not lost: the same SYN twice */
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	CHECK_INT(inject(f, &wakeup), 1);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	CHECK_INT(f->replicas[0].state.inflight, 1);
}

TEST(a_call_that_is_lost_is_made_again)
{
	fixture_each(lost, NULL);
}

/* Times of a line that last moved months ago, or of a machine that has just booted. */
static void long_ago(struct fixture *f)
{
	static const __u32 ages[] = {0x7fffffff, 0x80000001, 0xc0000000, 1000000};

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	f->replicas[0].state.owned = 0;
	fixture_sweep(f);
	call(f, 4000); /* 0, whatever the clock says */
	for (unsigned i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
		f->lines[0].next = f->lines[0].offered = f->kernel->now - ages[i];
		fixture_sweep(f);
		call(f, 4000);
	}
	f->lines[0].offered = 0;
	f->lines[0].next = f->kernel->now + 30;
	beat(f);
	call(f, 0);
}

TEST(times_of_long_ago_hold_nobody)
{
	fixture_once(long_ago, NULL);
}

/* ---- ends -----------------------------------------------------------------------------------*/

static void gives_up(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	parks(f, "client:4000 > vip:80 R seq 8 len 0");
	check_clean(f);

	parks(f, SYN("4000"));
	parks(f, SYN("4001"));
	parks(f, "client:4000 > vip:80 S seq 99 len 0 opts 20"); /* another connect: at the end */
	check_parked(f, 2, 0);
	CHECK_INT(f->service_states[0].parked_total, 4);
	f->replicas[0].state.owned = 0;
	look(f);
	call(f, 4001);

	fixture_age(f, 100);
	parks(f, "client:4000 > vip:80 S seq 99 len 0 opts 20");
	fixture_age(f, 100);
	fixture_sweep(f);
	check_parked(f, 1, 0); /* 4001 was silent for longer than a TCP would be */
	fixture_age(f, 100);
	fixture_sweep(f);
	check_clean(f);
}

TEST(clients_that_give_up_leave_the_line)
{
	fixture_each(gives_up, NULL);
}

static void silent_while_offered(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	for (unsigned i = 0; i < 3; i++) { /* our own SYNs are no sign of its client's life */
		f->replicas[0].state.owned = 0;
		for (unsigned row = 0; row < SL_PENDING; row++)
			f->pending[row].heard -= 50 * FIXTURE_HZ;
		look(f);
		call(f, 4000);
		sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
		f->replicas[0].state.owned = 1;
		sends(f, TO_POD, FULL("r1", "4000"), TRIMMED, SYN("4000"));
		parks(f, SYN("4000"));
	}
	fixture_sweep(f);
	check_clean(f);
}

TEST(offers_do_not_keep_a_dead_client_in_line)
{
	fixture_each(silent_while_offered, NULL);
}

static void dead_agent(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	f->control->heartbeat_ns -= 4000000000ull;
	fixture_age(f, 1);
	parks(f, SYN("4000"));
	f->replicas[0].state.owned = 0;
	fixture_age(f, 1);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	sends(f, TO_POD, ANSWER("r1", "4000"), NEXT, VIP_ANSWER("4000"));
	sends(f, FROM_POD, "client:4000 > vip:80 R seq 8 len 0", NEXT,
	      "client:4000 > r1:8000 R seq 8 len 0");
	check_clean(f);
}

TEST(with_the_agent_dead_a_retransmit_is_an_offer)
{
	fixture_each(dead_agent, NULL);
}
