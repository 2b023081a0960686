// SPDX-License-Identifier: GPL-2.0-only
/*
 * The waiting line where things go wrong: clients that are gone, replicas that are silent, and what
 * meetings of CPUs may leave behind, set up by hand.
 */
#include "line_case.h"

/* The pending row of the only flow in line. */
static __u32 only_row(struct fixture *f)
{
	for (__u32 row = 0; row < SL_PENDING; row++)
		if (f->pending[row].phase == SL_PENDING_PARKED)
			return row;
	return 0;
}

/* 4000, which is first, cannot be offered: it leaves at the call, and 4001 is not kept from its
 * turn. */
static void leaves_to_the_next(struct fixture *f)
{
	struct sl_wakeup wakeup;

	parks(f, SYN("4001"));
	f->replicas[0].state.owned = 0;
	look(f);
	CHECK_INT(called(f, &wakeup), 4000);
	CHECK_INT(inject(f, &wakeup), 1);
	check_parked(f, 1, 0);
	beat(f);
	call(f, 4001);
	parks(f, "client:4001 > vip:80 R seq 8 len 0");
	check_clean(f);
}

static void client_is_gone(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	f->pending[only_row(f)].ifindex = 0x7fffffff;
	leaves_to_the_next(f);
}

TEST(whose_interface_is_gone_holds_nobody)
{
	fixture_each(client_is_gone, NULL);
}

/* Its flow ended while another CPU was keeping its SYN. */
static void orphan(struct fixture *f)
{
	struct sl_flow *flow;

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	flow = fixture_flow(f);
	flow->state = (flow->state & ~0xfull) | SL_FLOW_DONE;
	leaves_to_the_next(f);
}

TEST(who_waits_without_a_flow_leaves)
{
	fixture_each(orphan, NULL);
}

/* An RST, or another connect, from the port of one whose SYN is not kept yet. */
static void being_parked(struct fixture *f)
{
	struct sl_flow *flow;
	__u32 row;

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	row = only_row(f);
	flow = fixture_flow(f);
	flow->pending = 0;
	parks(f, "client:4000 > vip:80 R seq 8 len 0");
	parks(f, "client:4000 > vip:80 S seq 99 len 0 opts 20");
	check_parked(f, 1, 0);
	flow->pending = row + 1;
	parks(f, "client:4000 > vip:80 R seq 8 len 0");
	check_clean(f);
}

TEST(who_is_just_being_parked_stays_so)
{
	fixture_each(being_parked, NULL);
}

/* What a meeting of CPUs may leave behind, by hand. */
static void lost_tickets(struct fixture *f)
{
	struct sl_line_place place = {};
	__u32 row;

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	parks(f, SYN("4000"));
	row = only_row(f);
	place.service = f->pending[row].service;
	place.ticket = f->pending[row].ticket;
	CHECK(!bpf_map_delete_elem(bpf_map__fd(f->skel->maps.line_places), &place));
	f->service_states[0].parked = f->kernel->parked = 0;
	parks(f, SYN("4000"));
	check_parked(f, 1, 0);
	CHECK_INT(f->pending[row].ticket, place.ticket + 1);

	f->lines[0].head = f->lines[0].tail; /* its turn went by while it came */
	parks(f, SYN("4000"));
	check_parked(f, 1, 0);
	f->replicas[0].state.owned = 0;
	look(f);
	call(f, 4000);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	sends(f, FROM_POD, "client:4000 > vip:80 R seq 8 len 0", NEXT,
	      "client:4000 > r1:8000 R seq 8 len 0");
}

TEST(a_lost_ticket_is_replaced_at_the_next_retransmit)
{
	fixture_each(lost_tickets, NULL);
}

static void comes_back(struct fixture *f)
{
	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	for (unsigned port = 4000; port < 4003; port++) {
		char syn[PACKET_TEXT_LEN];

		snprintf(syn, sizeof(syn), "client:%u > vip:80 S seq 7 len 0 opts 20", port);
		parks(f, syn);
	}
	f->replicas[0].config.max_connections = 3;
	look(f);
	call(f, 4000);
	sends(f, FROM_POD, SYN("4000"), NEXT, SYN_TO("4000", "r1"));
	f->lines[0].offered = 0; /* nothing is heard of it, and the next is called */
	look(f);
	call(f, 4001);
	CHECK_INT(f->lines[0].head, 1);
	sends(f, TO_POD, FULL("r1", "4000"), TRIMMED, SYN("4000"));
	parks(f, SYN("4000"));
	look(f);
	call(f, 4000);
}

TEST(one_that_is_refused_late_is_the_first_again)
{
	fixture_each(comes_back, NULL);
}

/* Only a replica that is silent seems to have room: of whom it is asked to take, nothing is heard.
 */
static void silence(struct fixture *f)
{
	char syn[PACKET_TEXT_LEN];
	struct fixture_result result;

	line_case(f, SL_SERVICE_WAIT_FULL, 1);
	f->services[0].max_parked = 100;
	f->services[0].retry_attempts = 0; /* nothing is called out but by the line */
	for (unsigned i = 0; i < 50; i++) {
		snprintf(syn, sizeof(syn), "client:%u > vip:80 S seq 7 len 0", 4000 + i);
		parks(f, syn);
	}
	f->replicas[0].config.max_connections = 100;
	for (unsigned i = 0; i < 50; i++) {
		look(f);
		call(f, 4000 + i);
		snprintf(syn, sizeof(syn), "client:%u > vip:80 S seq 7 len 0", 4000 + i);
		fixture_send(f, FROM_POD, syn, &result);
		CHECK_INT(result.verdict, NEXT);
		f->lines[0].offered = 0; /* a tenth of a second goes by */
	}
	check_parked(f, 50, 50);
}

TEST(many_on_offer_do_not_hide_the_next)
{
	fixture_once(silence, NULL);
}
