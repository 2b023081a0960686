// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replicas that cannot be reached, by anybody or by an outside client: what is
 * picked in their place, and what the client is told when there is nothing.
 */
#include "bpf_fixture.h"
#include "check.h"

static const struct fixture_options four_ports = {.snat_port_min = 2000, .snat_port_max = 2003};

/* Sends a SYN of each of `n` client ports, from `first` on; returns how many went to a replica. */
static unsigned open_flows(struct fixture *f, enum fixture_hook at, unsigned first, unsigned n)
{
	struct fixture_result result;
	char line[PACKET_TEXT_LEN];
	unsigned opened = 0;

	for (unsigned port = first; port < first + n; port++) {
		snprintf(line, sizeof(line), "client:%u > vip:80 S seq 7 len 0", port);
		fixture_send(f, at, line, &result);
		opened += !strstr(result.text, " back") &&
			  memcmp(result.in.data, result.out.data, result.in.len);
	}
	return opened;
}

static unsigned inflight(const struct fixture *f, __u32 replica)
{
	return f->replicas[replica].state.inflight;
}

/* Counts are those of the table, and nothing holds a port that has no flow. */
static void check_books(struct fixture *f, unsigned flows, unsigned ports)
{
	CHECK_INT(fixture_count_flows(f, SL_FLOW_SYN), flows);
	CHECK_INT(f->kernel->half_open, flows);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_LIVE), ports);
	CHECK_INT(fixture_count_snat(f, SL_SNAT_CLAIMED), 0);
}

/* ---- no route --------------------------------------------------------------------*/

static void no_route(struct fixture *f)
{
	static const __u16 worse[] = {0, SL_REPLICA_SUSPECT, SL_REPLICA_DRAINING,
				      SL_REPLICA_PROBE_DOWN};

	fixture_simple(f, SL_SERVICE_REPLACE, 2);
	f->replicas[0].config.flags |= SL_REPLICA_NO_ROUTE;
	for (unsigned i = 0; i < 4; i++) {
		f->replicas[1].config.flags |= worse[i];
		CHECK_INT(open_flows(f, FROM_POD, 1 + 20 * i, 20), 20);
		f->replicas[1].config.flags &= ~worse[i];
	}
	CHECK_INT(inflight(f, 0), 0);
	CHECK_INT(inflight(f, 1), 80);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 40);
	f->replicas[1].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, FROM_POD, 100, 5), 0);
	f->replicas[1].config.flags |= SL_REPLICA_NO_ROUTE;
	CHECK_INT(open_flows(f, FROM_UPLINK, 105, 5), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_REPLICA), 10);
	check_books(f, 80, 0);
	f->replicas[0].config.flags &= ~SL_REPLICA_NO_ROUTE;
	CHECK_INT(open_flows(f, FROM_POD, 120, 5), 5);
	CHECK_INT(inflight(f, 0), 5);
}

TEST(without_a_route_there_is_no_pick_even_in_panic)
{
	fixture_each(no_route, NULL);
}

#define MANY 1000 /* more than are ever scanned whole */

static void no_route_of_many(struct fixture *f)
{
	__u32 service = fixture_add_service(f, SL_SERVICE_REPLACE);
	char line[PACKET_TEXT_LEN];

	fixture_add_vip(f, service, "vip:80");
	for (unsigned i = 0; i < MANY; i++) {
		snprintf(line, sizeof(line), "r1:%u", 8000 + i);
		fixture_add_replica(f, service, line, 100);
		f->replicas[i].config.flags |= SL_REPLICA_NO_ROUTE;
	}
	CHECK_INT(open_flows(f, FROM_POD, 1, 20), 0);
	f->replicas[3].config.flags &= ~SL_REPLICA_NO_ROUTE;
	CHECK_INT(open_flows(f, FROM_POD, 1, 20), 20);
	CHECK_INT(inflight(f, 3), 20);
	f->replicas[3].config.flags |= SL_REPLICA_PROBE_DOWN;
	CHECK_INT(open_flows(f, FROM_POD, 21, 20), 20);
	CHECK_INT(inflight(f, 3), 40);
}

TEST(the_only_one_with_a_route_of_a_thousand_is_found)
{
	fixture_once(no_route_of_many, NULL);
}

/* ---- no source, no port ----------------------------------------------------------*/

/* The first `remotes` of `n` replicas are on other nodes, without a source to reach them from, and
 * are the ones with the least in flight. */
static void no_source(struct fixture *f, unsigned remotes, unsigned n)
{
	fixture_simple(f, SL_SERVICE_REPLACE, n);
	fixture_add_source(f, "node");
	for (unsigned i = 0; i < n; i++) {
		if (i < remotes) {
			fixture_make_remote(f, i, 0);
			f->replicas[i].config.source = 0;
		} else {
			f->replicas[i].state.inflight = 1000;
		}
	}
}

static void local_instead(struct fixture *f)
{
	no_source(f, 1, 2);
	CHECK_INT(open_flows(f, FROM_UPLINK, 1, 20), 20);
	CHECK_INT(inflight(f, 0), 0);
	CHECK_INT(inflight(f, 1), 1020);
	CHECK_INT(open_flows(f, FROM_POD, 100, 20), 20); /* a pod needs no source */
	CHECK_INT(inflight(f, 0), 20);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_NO_SOURCE), 0);
	check_books(f, 40, 0);
}

static void local_of_four(struct fixture *f)
{
	no_source(f, 3, 4);
	CHECK_INT(open_flows(f, FROM_UPLINK, 1, 40), 40);
	CHECK_INT(inflight(f, 3), 1040);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_NO_SOURCE), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PICKS), 40);
	check_books(f, 40, 0);
}

TEST(without_a_source_an_outside_client_gets_a_local_replica)
{
	fixture_each(local_instead, NULL);
	fixture_each(local_of_four, NULL);
}

static void no_local(struct fixture *f)
{
	static const struct step refused[] = {
		{FROM_UPLINK, "client:4000 > vip:80 S seq 7 len 0", REDIRECT,
		 "vip:80 > client:4000 RA seq 0 ack 8 len 0 back"},
	};

	no_source(f, 3, 3);
	STEPS(f, refused);
	CHECK_INT(open_flows(f, FROM_UPLINK, 1, 9), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_NO_SOURCE), 10);
	CHECK_INT(fixture_drops(f, SL_DROP_NO_REPLICA), 0);
	CHECK_INT(fixture_counter(f, SL_COUNT_PANIC_PICKS), 0);
	for (unsigned i = 0; i < 3; i++)
		CHECK_INT(inflight(f, i), 0);
	check_books(f, 0, 0);
}

TEST(without_a_local_one_the_client_is_told)
{
	fixture_each(no_local, NULL);
}

/* A local one that does not serve is none. */
static void local_not_serving(struct fixture *f)
{
	no_source(f, 1, 2);
	f->replicas[1].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, FROM_UPLINK, 1, 5), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_NO_SOURCE), 5);
	CHECK_INT(inflight(f, 1), 1000);
	check_books(f, 0, 0);
}

TEST(nor_is_a_local_one_that_does_not_serve)
{
	fixture_once(local_not_serving, NULL);
}

static void no_port(struct fixture *f)
{
	fixture_simple(f, SL_SERVICE_REPLACE, 2);
	fixture_make_remote(f, 0, fixture_add_source(f, "node"));
	f->replicas[1].state.inflight = 1000;
	CHECK_INT(open_flows(f, FROM_UPLINK, 1, 10), 10);
	CHECK_INT(inflight(f, 0), 4);
	CHECK_INT(inflight(f, 1), 1006);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_EXHAUSTED), 0);
	check_books(f, 10, 4);
	f->replicas[1].config.flags |= SL_REPLICA_NOT_SERVING;
	CHECK_INT(open_flows(f, FROM_UPLINK, 100, 3), 0);
	CHECK_INT(fixture_drops(f, SL_DROP_SNAT_EXHAUSTED), 3);
	check_books(f, 10, 4);
}

TEST(without_a_port_left_too)
{
	fixture_each(no_port, &four_ports);
}
